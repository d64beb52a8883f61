//! What two servers cannot have in common: times, sizes of files, and names of places.

/// Blanks it out in what a command with these arguments has printed.
pub(crate) fn mask(text: &str, places: &[(String, &str)], args: &[String]) -> String {
    let mut text = text.to_owned();
    for (place, name) in places {
        text = text.replace(place, name);
    }
    let verb: Vec<&str> = args.iter().map(String::as_str).take(2).collect();
    for (command, prefix) in AFTER {
        if command.is_empty() || verb.join(" ") == *command {
            text = mask_after(&text, prefix);
        }
    }
    if verb.first() == Some(&"endpoint") {
        text = mask_cells(&text);
    }
    text
}

/// Of the JSON lines that clients log, what was the matter; times and addresses go.
pub(crate) fn logs(text: &str) -> String {
    let mut short = String::new();
    for line in text.lines() {
        // Some commands of 3.4 crash in some formats; their stacks have addresses.
        if line.starts_with("goroutine ") {
            break;
        }
        if line.starts_with('{') {
            for field in ["level", "msg", "attempt", "error"] {
                if let Some(value) = json_field(line, field) {
                    short.push_str(&format!("{field}={value} "));
                }
            }
        } else {
            short.push_str(line);
        }
        short.push('\n');
    }
    short
}

/// gRPC's codes in what clients tell of refusals.
pub(crate) fn codes(text: &str) -> String {
    mask_after(text, "code = ")
}

/// The words before a time, or before a size of a file; and in output of which command.
const AFTER: &[(&str, &str)] = &[
    ("", "took = "),
    ("", "took "),
    ("", "\"took\":\""),
    ("", "\"Took\" : "),
    ("", "\"dbSize\":"),
    ("", "\"dbSizeInUse\":"),
    ("", "\"DBSize\" : "),
    ("", "\"DBSizeInUse\" : "),
    ("", "remaining("),
    ("lease timetolive", "\"ttl\":"),
    ("lease timetolive", "\"TTL\" : "),
    // The server chooses the id.
    ("lease grant", "lease "),
    ("lease grant", "\"ID\":"),
    ("lease grant", "\"ID\" : "),
    // Whoever holds or waits has a lease, and a key by its id.
    ("lock l", "l/"),
    ("lock --", "l/"),
    ("get l", "l/"),
    ("elect e", "e/"),
    ("elect -l", "e/"),
    ("get e", "e/"),
];

/// Replaces the number, with its unit, that follows the prefix.
fn mask_after(text: &str, prefix: &str) -> String {
    let mut parts = text.split(prefix);
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest =
            part.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || ".\u{b5}".contains(c));
        masked.push_str(prefix);
        masked.push_str(if rest.len() == part.len() { "" } else { "*" });
        masked.push_str(rest);
    }
    masked
}

/// Cells such as `20 kB`, `17%` or `2.1ms`, and the width of the table that depends on them. A
/// quota is counted in GB and stays.
pub(crate) fn mask_cells(text: &str) -> String {
    let is_size = |cell: &str| {
        let number = ["%", " B", " kB", " MB", "ms", "\u{b5}s", "s"]
            .iter()
            .find_map(|unit| cell.strip_suffix(unit));
        number.is_some_and(|number| number.parse::<f64>().is_ok())
    };
    let mut masked = String::new();
    for line in text.lines() {
        let separator = ["\u{2502}", "|", ","].into_iter().find(|&mark| line.contains(mark));
        let cells: Vec<&str> = match separator {
            Some(mark) => line.split(mark).map(str::trim).collect(),
            None if line.contains("--") || line.contains('\u{2500}') => vec!["(rule)"],
            None => vec![line],
        };
        let cells = cells.iter().map(|cell| if is_size(cell) { "*" } else { cell });
        masked.push_str(&cells.collect::<Vec<_>>().join("|"));
        masked.push('\n');
    }
    masked
}

/// The value of a field in a line of JSON, as it is written there.
fn json_field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, after) = line.split_once(&format!("\"{name}\":"))?;
    let end = match after.strip_prefix('"') {
        Some(quoted) => quoted.find('"')? + 2,
        None => after.find([',', '}'])?,
    };
    after.get(..end)
}
