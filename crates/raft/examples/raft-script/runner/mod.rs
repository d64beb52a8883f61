//! Plays cluster scripts: reads them (`script`), runs nodes with their disks and a network in
//! memory (`cluster`), understands the commands (`commands`), and writes events for the TLA+
//! specification (`trace`).

mod cluster;
mod commands;
mod script;
mod trace;

use cluster::Cluster;
use script::Piece;

/// Plays a script; gives it back with what our code puts out in place of the expected output.
pub(crate) fn play(text: &str) -> Result<String, String> {
    play_on(&mut Cluster::default(), text)
}

/// The same, and the events for the TLA+ specification, in their order over all nodes. It knows
/// neither pre-vote nor asynchronous writes, so a script with these is refused.
pub(crate) fn play_traced(text: &str) -> Result<(String, String), String> {
    let mut cluster = Cluster { events: Some(String::new()), ..Cluster::default() };
    let output = play_on(&mut cluster, text)?;
    cluster.take_events();
    Ok((output, cluster.events.unwrap_or_default()))
}

fn play_on(cluster: &mut Cluster, text: &str) -> Result<String, String> {
    let mut trace = String::new();
    for piece in script::parse(text)? {
        match piece {
            Piece::Text(text) => {
                trace.push_str(&text);
                trace.push('\n');
            }
            Piece::Command(command) => {
                let output = commands::run(cluster, &command)
                    .map_err(|error| format!("line {}: {error}", command.line))?;
                trace.push_str(&command.echo);
                trace.push_str(&script::expectation(&output));
            }
        }
    }
    Ok(trace)
}
