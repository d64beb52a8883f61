//! `/debug/pprof/...`: what can be told of a process that is not Go's, behind `--enable-pprof`.
//!
//! The profiles themselves are made by Go's runtime. There is none here, and that is what is
//! answered in their place, with what to use instead.

use bytes::Bytes;
use http::{Response, StatusCode};

use super::{TEXT, error, typed};

const INDEX: &str = "/debug/pprof/\n\ncmdline: the command line, with zeros between the words\n\
                     goroutine?debug=1: the threads\n\n\
                     There are no profiles of Go here. To see where time goes: perf record -g -p \
                     PID\n";
const PROFILES: [&str; 8] =
    ["allocs", "block", "heap", "mutex", "profile", "symbol", "threadcreate", "trace"];

/// The answer to a path behind `/debug/pprof/`; `None` where etcd knows none either.
pub fn answer(path: &str, query: &str) -> Option<Response<Bytes>> {
    Some(match path {
        "" => typed(StatusCode::OK, TEXT, INDEX),
        "cmdline" => {
            let words: Vec<String> = std::env::args().collect();
            typed(StatusCode::OK, TEXT, words.join("\0"))
        }
        "goroutine" if query.split('&').any(|it| it.starts_with("debug=") && it != "debug=0") => {
            typed(StatusCode::OK, TEXT, threads())
        }
        "goroutine" => no_profile(path),
        _ if PROFILES.contains(&path) => no_profile(path),
        _ => return None,
    })
}

fn no_profile(name: &str) -> Response<Bytes> {
    let text = format!("there is no profile {name:?}: this server is not a Go program\n");
    error(StatusCode::NOT_IMPLEMENTED, text)
}

/// The names of all threads.
fn threads() -> String {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    let mut names: Vec<_> = names.collect();
    names.sort();
    format!("threads: {}\n{}", names.len(), names.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(path: &str, query: &str) -> Option<u16> {
        answer(path, query).map(|answer| answer.status().as_u16())
    }

    #[test]
    fn what_go_alone_has_is_refused_in_words() {
        assert_eq!(code("", ""), Some(200));
        assert_eq!(code("cmdline", ""), Some(200));
        assert_eq!(code("goroutine", "debug=2"), Some(200));
        assert_eq!(code("goroutine", ""), Some(501));
        assert_eq!(code("heap", "debug=1"), Some(501));
        assert_eq!(code("nothing", ""), None);
    }
}
