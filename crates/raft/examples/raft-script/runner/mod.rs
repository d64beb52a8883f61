//! Plays cluster scripts: reads them (`script`), runs nodes with their disks and a network in
//! memory (`cluster`), and understands the commands (`commands`).

mod cluster;
mod commands;
mod script;

use script::Piece;

/// Plays a script; gives it back with what our code puts out in place of the expected output.
pub(crate) fn play(text: &str) -> Result<String, String> {
    let mut cluster = cluster::Cluster::default();
    let mut trace = String::new();
    for piece in script::parse(text)? {
        match piece {
            Piece::Text(text) => {
                trace.push_str(&text);
                trace.push('\n');
            }
            Piece::Command(command) => {
                let output = commands::run(&mut cluster, &command)
                    .map_err(|error| format!("line {}: {error}", command.line))?;
                trace.push_str(&command.echo);
                trace.push_str(&script::expectation(&output));
            }
        }
    }
    Ok(trace)
}
