//! The file format: `command arguments`, input lines, `----`, expected output.

/// A piece of a script, in order.
pub(crate) enum Piece {
    /// A comment or a blank line.
    Text(String),
    Command(Command),
}

/// One command.
pub(crate) struct Command {
    pub(crate) line: usize,
    pub(crate) name: String,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) input: String,
    /// The command and its input as they stand in the file.
    pub(crate) echo: String,
}

/// `key`, `key=value` or `key=(value, value)`.
pub(crate) struct Argument {
    pub(crate) key: String,
    pub(crate) values: Vec<String>,
}

impl Command {
    /// The arguments without a value, as numbers.
    pub(crate) fn numbers(&self) -> Result<Vec<u64>, String> {
        let plain = self.arguments.iter().filter(|argument| argument.values.is_empty());
        plain.map(|argument| number(&argument.key)).collect()
    }

    pub(crate) fn number(&self, at: usize) -> Result<u64, String> {
        number(&self.word(at)?.key)
    }

    pub(crate) fn word(&self, at: usize) -> Result<&Argument, String> {
        self.arguments.get(at).ok_or_else(|| format!("argument {} is missing", at + 1))
    }

    /// The only value of an argument, if it is there.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        let argument = self.arguments.iter().find(|argument| argument.key == key)?;
        argument.values.first().map(String::as_str)
    }
}

pub(crate) fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number"))
}

/// What follows a command: the separator, the output, a blank line. Output with blank lines of
/// its own goes between double separators.
pub(crate) fn expectation(output: &str) -> String {
    let output = output.trim_end_matches('\n');
    if output.lines().any(|line| line.trim().is_empty()) {
        format!("----\n----\n{output}\n----\n----\n")
    } else {
        format!("----\n{output}\n")
    }
}

/// Reads a script, without its expected output.
pub(crate) fn parse(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((at, line)) = lines.next() {
        if line.trim().is_empty() || line.starts_with('#') {
            pieces.push(Piece::Text(line.to_string()));
            continue;
        }
        let mut command = line.to_string();
        let mut echo = format!("{line}\n");
        while command.ends_with('\\') {
            command.pop();
            let (_, more) = lines.next().ok_or("the last line is continued by none")?;
            command.push_str(more.trim());
            echo.push_str(more);
            echo.push('\n');
        }
        let mut input = String::new();
        loop {
            let (_, line) = lines.next().ok_or(format!("line {}: no ---- follows", at + 1))?;
            if line == "----" {
                break;
            }
            input.push_str(line);
            input.push('\n');
        }
        echo.push_str(&input);
        if lines.next_if(|(_, line)| *line == "----").is_some() {
            let mut last = "";
            for (_, line) in lines.by_ref() {
                if last == "----" && line == "----" {
                    break;
                }
                last = line;
            }
        } else {
            while lines.next_if(|(_, line)| !line.trim().is_empty()).is_some() {}
        }
        let (name, arguments) = split(&command)?;
        pieces.push(Piece::Command(Command { line: at + 1, name, arguments, input, echo }));
    }
    Ok(pieces)
}

fn split(command: &str) -> Result<(String, Vec<Argument>), String> {
    let (name, mut rest) = command.trim().split_once(' ').unwrap_or((command.trim(), ""));
    let mut arguments = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Ok((name.to_string(), arguments));
        }
        let end = rest.find([' ', '=']).unwrap_or(rest.len());
        let key = rest[..end].to_string();
        rest = &rest[end..];
        let mut values = Vec::new();
        if let Some(value) = rest.strip_prefix('=') {
            let (value, after) = match value.strip_prefix('(') {
                Some(list) => list.split_once(')').ok_or("a list is not closed")?,
                None => value.split_at(value.find(' ').unwrap_or(value.len())),
            };
            let parts = value.split([',', ' ']).filter(|part| !part.is_empty());
            values.extend(parts.map(str::to_string));
            if values.is_empty() {
                values.push(String::new());
            }
            rest = after;
        }
        arguments.push(Argument { key, values });
    }
}
