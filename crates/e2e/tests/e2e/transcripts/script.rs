//! How a script is written: one step per line.
//!
//! ```text
//! # a comment
//! put foo 'two words'            arguments of etcdctl
//! txn <<                         with an input, up to a line with one dot
//! val("foo") = "bar"
//! .
//! @watch 3 foo --prefix --rev=2  watch until three events were shown, then interrupt it
//! @settle                        wait until the version of the files is known
//! @grant 1f 600                  a lease of this id (hex) and TTL
//! ```

/// A list of steps.
pub(super) struct Script {
    pub(super) steps: Vec<Step>,
}

pub(super) enum Step {
    Command { args: Vec<String>, stdin: String },
    Watch { events: usize, args: Vec<String>, stdin: String },
    Settle,
    Grant { id: i64, ttl: i64 },
}

impl Script {
    pub(super) fn parse(text: &str) -> Self {
        let mut steps = Vec::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut args = words(line);
            let mut stdin = String::new();
            if args.last().is_some_and(|last| last == "<<") {
                args.pop();
                for line in lines.by_ref().take_while(|&line| line != ".") {
                    stdin.push_str(line);
                    stdin.push('\n');
                }
            }
            steps.push(Self::step(args, stdin));
        }
        Self { steps }
    }

    fn step(mut args: Vec<String>, stdin: String) -> Step {
        match args[0].as_str() {
            "@watch" => {
                let events = args[1].parse().expect("@watch has a number of events");
                args.splice(..2, ["watch".to_owned()]);
                Step::Watch { events, args, stdin }
            }
            "@settle" => Step::Settle,
            "@grant" => Step::Grant {
                id: u64::from_str_radix(&args[1], 16).expect("@grant has an id") as i64,
                ttl: args[2].parse().expect("@grant has a TTL"),
            },
            _ => Step::Command { args, stdin },
        }
    }
}

/// Splits at blanks; what is in single quotes stays together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}
