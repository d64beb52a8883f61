//! SIGINT and SIGTERM: close in order, then die of the signal.
//!
//! Supervisors tell a service that ended by their signal from one that failed, so after the
//! orderly close the signal is raised again with its default action (a shell sees 130 or 143).

use std::io;

use tokio::signal::unix::{SignalKind, signal};

use crate::logging::Logger;

/// A wish to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Termination {
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Termination {
    /// The signal as Go names it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Termination::Interrupt => "interrupt",
            Termination::Terminate => "terminated",
        }
    }

    fn number(self) -> i32 {
        match self {
            Termination::Interrupt => signal_hook::consts::SIGINT,
            Termination::Terminate => signal_hook::consts::SIGTERM,
        }
    }
}

/// Listens for the signals from the moment it is made. A second signal changes nothing.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    /// Takes the signals over. Needs a running tokio runtime with I/O.
    pub(crate) fn listen() -> io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for a signal and logs it. Safe to drop.
    pub(crate) async fn wait(&mut self, logger: &Logger) -> Termination {
        let got = tokio::select! {
            _ = self.interrupt.recv() => Termination::Interrupt,
            _ = self.terminate.recv() => Termination::Terminate,
        };
        logger.info("received signal; shutting down").text("signal", got.as_str()).send();
        got
    }
}

/// Ends the process as the signal would have; process 1, which the kernel does not kill, exits.
pub(crate) fn die_of(got: Termination) -> ! {
    if std::process::id() != 1 {
        // It returns only when the default action could not be taken.
        let _ = signal_hook::low_level::emulate_default_handler(got.number());
    }
    std::process::exit(0)
}
