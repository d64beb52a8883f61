//! How a script is written: one step per line.
//!
//! ```text
//! # a comment
//! put foo 'two words'            arguments of etcdctl
//! txn <<                         with an input, up to a line with one dot
//! val("foo") = "bar"
//! .
//! @watch 3 foo --prefix --rev=2  watch until three events were shown, then interrupt it
//! @hold a 1 lock l               start it, wait until it has printed a line, let it go on as "a"
//! @shows a 2                     wait until it has printed two
//! @release a                     interrupt it
//! @keys 2 l                      wait until two keys begin with l
//! @settle                        wait until the version of the files is known
//! @grant 1f 600                  a lease of this id (hex) and TTL
//! @raise nospace                 an alarm (or "corrupt") of the member that is asked
//! ```

/// A list of steps.
pub(crate) struct Script {
    pub(crate) steps: Vec<Step>,
}

pub(crate) enum Step {
    Command { args: Vec<String>, stdin: String },
    Watch { events: usize, args: Vec<String>, stdin: String },
    Hold { name: String, lines: usize, args: Vec<String> },
    Shows { name: String, lines: usize },
    Release { name: String },
    Keys { count: i64, prefix: String },
    Settle,
    Grant { id: i64, ttl: i64 },
    Raise { alarm: i32 },
}

impl Script {
    pub(crate) fn parse(text: &str) -> Self {
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
            "@hold" => {
                let lines = args[2].parse().expect("@hold has a number of lines");
                let name = args[1].clone();
                Step::Hold { name, lines, args: args.split_off(3) }
            }
            "@shows" => {
                let lines = args[2].parse().expect("@shows has a number of lines");
                Step::Shows { name: args[1].clone(), lines }
            }
            "@release" => Step::Release { name: args[1].clone() },
            "@keys" => {
                let count = args[1].parse().expect("@keys has a number of keys");
                Step::Keys { count, prefix: args[2].clone() }
            }
            "@raise" => Step::Raise { alarm: if args[1] == "corrupt" { 2 } else { 1 } },
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
