//! The configuration file, TOML or JSON, as it is written: what it means is for [`super::layers`].

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value as Json;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The longest file that is read.
const BYTES_MAX: u64 = 1 << 20;

/// The deepest nesting of tables and lists.
const DEPTH_MAX: usize = 32;

/// A value, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// The line, from 1; JSON does not tell.
    pub line: Option<usize>,
    pub value: Value,
}

/// What a file can say.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(String),
    /// As written.
    Number(String),
    Switch(bool),
    List(Vec<Node>),
    Table(Vec<(String, Node)>),
    Null,
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct File {
    pub path: PathBuf,
    pub entries: Vec<(String, Node)>,
}

impl File {
    /// Where something stands, in words.
    pub(crate) fn place(&self, line: Option<usize>) -> String {
        match line {
            Some(line) => format!("{}, line {line}", self.path.display()),
            None => self.path.display().to_string(),
        }
    }

    /// Reads a file; how it ends says in which language it is.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let failed = || format!("the configuration file {} cannot be read", path.display());
        let bytes = std::fs::metadata(path).with_context(failed)?.len();
        if bytes > BYTES_MAX {
            bail!("{} has {bytes} bytes, and a configuration has at most {BYTES_MAX}", path.display());
        }
        let text = std::fs::read_to_string(path).with_context(failed)?;
        let entries = match path.extension().and_then(|end| end.to_str()) {
            Some("json") => from_json(&text),
            _ => from_toml(&text),
        };
        let entries = entries.map_err(|why| anyhow!("{}: {why}", path.display()))?;
        Ok(Self { path: path.to_owned(), entries })
    }

    /// The file that is read where nobody names one: `config.toml` or `config.json` in the user's `.minerva`.
    pub(crate) fn usual() -> Result<Option<PathBuf>> {
        let Some(folder) = dirs::home_dir().map(|home| home.join(".minerva")) else { return Ok(None) };
        Self::in_folder(&folder)
    }

    fn in_folder(folder: &Path) -> Result<Option<PathBuf>> {
        let there = |name| Some(folder.join(name)).filter(|path| path.exists());
        match (there("config.toml"), there("config.json")) {
            (Some(toml), Some(json)) => {
                bail!("there are {} and {}; keep one", toml.display(), json.display())
            }
            (toml, json) => Ok(toml.or(json)),
        }
    }
}

fn from_toml(text: &str) -> Result<Vec<(String, Node)>, String> {
    let line = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or_else(String::new, |span| format!("line {}: ", line(span.start)));
        format!("{at}{}", error.message())
    })?;
    toml_table(table.get_ref(), &line, 0)
}

fn toml_table(
    table: &DeTable<'_>,
    line: &dyn Fn(usize) -> usize,
    depth: usize,
) -> Result<Vec<(String, Node)>, String> {
    if depth > DEPTH_MAX {
        return Err(format!("tables lie more than {DEPTH_MAX} deep"));
    }
    let mut entries = Vec::with_capacity(table.len());
    for (key, value) in table {
        let mut node = toml_node(value, line, depth)?;
        node.line = Some(line(key.span().start));
        entries.push((key.get_ref().clone().into_owned(), node));
    }
    // A map has them by name; a reader wants them as they stand.
    entries.sort_by_key(|(_, node)| node.line);
    Ok(entries)
}

fn toml_node(
    value: &Spanned<DeValue<'_>>,
    line: &dyn Fn(usize) -> usize,
    depth: usize,
) -> Result<Node, String> {
    let found = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.clone().into_owned()),
        DeValue::Integer(number) if number.radix() == 10 => Value::Number(number.as_str().to_owned()),
        DeValue::Integer(number) => {
            let read = i64::from_str_radix(number.as_str(), number.radix());
            Value::Number(read.map_err(|error| format!("{}: {error}", number.as_str()))?.to_string())
        }
        DeValue::Float(number) => Value::Number(number.as_str().to_owned()),
        DeValue::Boolean(switch) => Value::Switch(*switch),
        DeValue::Datetime(time) => Value::Text(time.to_string()),
        DeValue::Array(list) => {
            let nodes: Result<_, _> = list.iter().map(|value| toml_node(value, line, depth + 1)).collect();
            Value::List(nodes?)
        }
        DeValue::Table(table) => Value::Table(toml_table(table, line, depth + 1)?),
    };
    Ok(Node { line: Some(line(value.span().start)), value: found })
}

fn from_json(text: &str) -> Result<Vec<(String, Node)>, String> {
    // serde_json has a limit of depth of its own.
    match json_node(serde_json::from_str(text).map_err(|error| error.to_string())?).value {
        Value::Table(entries) => Ok(entries),
        _ => Err("it is JSON, but no object".into()),
    }
}

fn json_node(json: Json) -> Node {
    let value = match json {
        Json::Null => Value::Null,
        Json::Bool(switch) => Value::Switch(switch),
        Json::Number(number) => Value::Number(number.to_string()),
        Json::String(text) => Value::Text(text),
        Json::Array(list) => Value::List(list.into_iter().map(json_node).collect()),
        Json::Object(map) => {
            Value::Table(map.into_iter().map(|(key, json)| (key, json_node(json))).collect())
        }
    };
    Node { line: None, value }
}

impl Node {
    /// As JSON: what plugins take.
    pub(crate) fn to_json(&self) -> Json {
        match &self.value {
            Value::Null => Json::Null,
            Value::Switch(switch) => Json::Bool(*switch),
            Value::Number(number) => serde_json::from_str(number).unwrap_or_else(|_| number.clone().into()),
            Value::Text(text) => text.clone().into(),
            Value::List(list) => list.iter().map(Self::to_json).collect(),
            Value::Table(entries) => {
                Json::Object(entries.iter().map(|(key, node)| (key.clone(), node.to_json())).collect())
            }
        }
    }

    /// What kind of value it is, in words.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Text(_) => "a text",
            Value::Number(_) => "a number",
            Value::Switch(_) => "true or false",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
            Value::Null => "null",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_languages_say_the_same() {
        let toml =
            "a = 1\n[server]\nport = 9_000 # here\nx = [true, 0x10, 1.5, \"t\"]\n[[models]]\nname = 'm'\n";
        let json =
            r#"{"a": 1, "server": {"port": 9000, "x": [true, 16, 1.5, "t"]}, "models": [{"name": "m"}]}"#;
        let toml = from_toml(toml).unwrap();
        let as_json =
            |entries: &[(String, Node)]| Node { line: None, value: Value::Table(entries.to_vec()) }.to_json();
        assert_eq!(as_json(&toml), as_json(&from_json(json).unwrap()));
        let Value::Table(server) = &toml[1].1.value else { panic!("{toml:?}") };
        assert_eq!(server[0].1.line, Some(3));
    }

    #[test]
    fn what_is_broken_is_named_with_its_line() {
        assert!(from_toml("a = 1\nb = = 2").unwrap_err().starts_with("line 2: "));
        assert!(from_json("{\n 1}").unwrap_err().contains("line 2"));
        assert_eq!(from_json("[]").unwrap_err(), "it is JSON, but no object");
        assert!(from_toml(&format!("a = {}", "[".repeat(10_000))).is_err());
    }

    #[test]
    fn one_file_is_found_and_two_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(File::in_folder(folder.path()).unwrap(), None);
        let (toml, json) = (folder.path().join("config.toml"), folder.path().join("config.json"));
        std::fs::write(&json, "{}").unwrap();
        assert_eq!(File::in_folder(folder.path()).unwrap(), Some(json));
        std::fs::write(&toml, "").unwrap();
        assert!(File::in_folder(folder.path()).unwrap_err().to_string().ends_with("keep one"));
    }
}
