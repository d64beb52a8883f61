//! The logging options, checked in etcd's order.

use serde_json::Value as Json;
use serde_json::error::Category;

use super::rotation::Rotation;
use super::{Format, Level};
use crate::options::Settings;
use crate::options::file::describe;

/// Where the log goes and what it looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogConfig {
    pub(crate) level: Level,
    pub(crate) format: Format,
    /// `default`, `stderr`, `stdout`, `systemd/journal` or paths.
    pub(crate) outputs: Vec<String>,
    pub(crate) rotation: Option<Rotation>,
}

/// The output that is no file.
pub(super) const JOURNAL: &str = "systemd/journal";

impl LogConfig {
    /// JSON on standard error.
    pub(crate) fn to_stderr(level: Level) -> LogConfig {
        let outputs = vec!["stderr".to_owned()];
        LogConfig { level, format: Format::Json, outputs, rotation: None }
    }

    /// Reads the options; the errors' texts are etcd's.
    pub(crate) fn read(settings: &Settings) -> Result<LogConfig, String> {
        match settings.text("logger").as_str() {
            "zap" => {}
            "capnslog" => return Err("--logger=capnslog is removed in v3.5".to_owned()),
            other => return Err(format!("unknown logger option {other:?}")),
        }
        let mut outputs = settings.list("log-outputs");
        if outputs.is_empty() {
            outputs.push("default".to_owned());
        }
        let is = |name: &'static str| move |output: &String| output == name;
        if outputs.len() > 1 && outputs.iter().any(is("default")) {
            return Err("multi logoutput for \"default\" is not supported yet".to_owned());
        }
        let rotate = settings.flag("enable-log-rotation");
        let json = settings.text("log-rotation-config-json");
        let rotation = rotate.then(|| rotation(&outputs, &json)).transpose()?;
        if outputs.iter().any(is(JOURNAL)) && outputs.len() > 1 {
            let outputs = outputs.iter().map(|output| format!("{output:?}"));
            let outputs = outputs.collect::<Vec<_>>().join(" ");
            return Err(format!(
                "running with systemd/journal but other '--log-outputs' values ([{outputs}]) are \
                 configured with 'default'; override 'default' value with something else"
            ));
        }
        let level = settings.text("log-level");
        let level = Level::parse(&level).ok_or(format!("unrecognized level: {level:?}"))?;
        let format = match settings.text("log-format").as_str() {
            "json" | "" => Format::Json,
            "console" => Format::Console,
            other => {
                return Err(format!("unknown log format: {other}, supported values json, console"));
            }
        };
        Ok(LogConfig { level, format, outputs, rotation })
    }
}

fn rotation(outputs: &[String], json: &str) -> Result<Rotation, String> {
    let is_file = |output: &&String| !matches!(output.as_str(), "default" | "stderr" | "stdout");
    let files = outputs.iter().filter(is_file).count();
    if files > 1 || (files == 0 && outputs.len() == 1) {
        return Err("--log-outputs requires a single file path when --log-rotate-config-json is \
                    defined"
            .to_owned());
    }
    Rotation::read(json)
}

impl Rotation {
    /// Reads the JSON object of the options.
    pub(crate) fn read(json: &str) -> Result<Rotation, String> {
        let given: Json = serde_json::from_str(json).map_err(|error| {
            let reason = match error.classify() {
                Category::Eof => "unexpected end of JSON input".to_owned(),
                _ => error.to_string(),
            };
            format!("improperly formatted log rotation config: {reason}")
        })?;
        Ok(Rotation {
            max_size_megabytes: natural(&given, "maxsize")?,
            max_age_days: natural(&given, "maxage")?,
            max_backups: usize::try_from(natural(&given, "maxbackups")?).unwrap_or(usize::MAX),
            local_time: truth(&given, "localtime")?,
            compress: truth(&given, "compress")?,
        })
    }
}

/// A number of the object; what the lumberjack library takes a negative one for, is zero.
fn natural(object: &Json, key: &str) -> Result<u64, String> {
    match object.get(key) {
        None | Some(Json::Null) => Ok(0),
        Some(value) => {
            let number = value.as_i64().ok_or_else(|| wrong(value, key, "int"))?;
            Ok(u64::try_from(number).unwrap_or(0))
        }
    }
}

fn truth(object: &Json, key: &str) -> Result<bool, String> {
    match object.get(key) {
        None | Some(Json::Null) => Ok(false),
        Some(value) => value.as_bool().ok_or_else(|| wrong(value, key, "bool")),
    }
}

fn wrong(value: &Json, key: &str, wanted: &str) -> String {
    let found = describe(value, wanted);
    format!(
        "invalid log rotation config: json: cannot unmarshal {found} into Go struct field \
         logRotationConfig.Logger.{key} of type {wanted}"
    )
}
