//! llama.cpp's notation for grammars, rewritten as Lark. The notation is described in llama.cpp's
//! grammars/README.md.
//!
//! Lark's rules are made of lexemes, and GBNF's of characters. So as much as can be is joined into one lexeme: a rule
//! that is not recursive becomes a terminal, and neighbours that are not recursive become one too.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::{Error, Kind};

/// The most rules, and the deepest nesting of groups.
const RULES_MAX: usize = 4096;
const DEPTH_MAX: usize = 100;
/// The most that a `{m,n}` may repeat, as in llama.cpp.
const REPEAT_MAX: u32 = 2000;

/// Rewrites a grammar.
pub(super) fn to_lark(source: &str) -> Result<String, Error> {
    let rules = Parser { source, at: 0, rules: Rules::default() }.parse()?;
    Ok(Writer::new(&rules).write())
}

enum Node {
    Text(String),
    /// A class of characters, as a regular expression.
    Class(String),
    Rule(usize),
    Sequence(Vec<Node>),
    Either(Vec<Node>),
    Repeat(Box<Node>, u32, Option<u32>),
}

/// The rules of a grammar. Those that were only named so far have no body.
#[derive(Default)]
struct Rules {
    numbers: HashMap<String, usize>,
    bodies: Vec<Option<Node>>,
    /// Where each was named first.
    named_at: Vec<usize>,
}

struct Parser<'a> {
    source: &'a str,
    at: usize,
    rules: Rules,
}

impl Parser<'_> {
    fn parse(mut self) -> Result<Rules, Error> {
        self.skip_space(true);
        while self.peek().is_some() {
            self.rule()?;
        }
        if !self.rules.numbers.contains_key("root") {
            self.at = self.source.len();
            return Err(self.error("there is no rule `root`"));
        }
        let undefined = self.rules.numbers.iter().filter(|(_, number)| self.rules.bodies[**number].is_none());
        if let Some((name, number)) = undefined.min_by_key(|(_, number)| self.rules.named_at[**number]) {
            let message = format!("the rule `{name}` is used but not defined");
            self.at = self.rules.named_at[*number];
            return Err(self.error(&message));
        }
        Ok(self.rules)
    }

    fn rule(&mut self) -> Result<(), Error> {
        let start = self.at;
        let number = self.name()?;
        if self.rules.bodies[number].is_some() {
            self.at = start;
            return Err(self.error("this rule is defined twice"));
        }
        self.skip_space(false);
        if !self.take("::=") {
            return Err(self.error("`::=` must follow the name of a rule"));
        }
        self.skip_space(true);
        let body = self.alternatives(0)?;
        if !matches!(self.peek(), None | Some('\r' | '\n')) {
            return Err(self.error("this is no part of a rule"));
        }
        self.rules.bodies[number] = Some(body);
        self.skip_space(true);
        Ok(())
    }

    /// `a b | c`. Inside a group, lines do not end it.
    fn alternatives(&mut self, depth: usize) -> Result<Node, Error> {
        let mut all = vec![self.sequence(depth)?];
        while self.take("|") {
            self.skip_space(true);
            all.push(self.sequence(depth)?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Node::Either(all) })
    }

    fn sequence(&mut self, depth: usize) -> Result<Node, Error> {
        let mut all = Vec::new();
        while let Some(next) = self.peek() {
            let node = match next {
                '"' => self.literal()?,
                '[' => self.class()?,
                '(' => self.group(depth)?,
                '.' => {
                    self.at += 1;
                    Node::Class("(?s:.)".into())
                }
                '<' | '!' => {
                    return Err(self.error("references to tokens are not supported; write their text"));
                }
                next if is_name(next) => Node::Rule(self.name()?),
                _ => break,
            };
            self.skip_space(depth > 0);
            let node = self.repeated(node)?;
            self.skip_space(depth > 0);
            all.push(node);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Node::Sequence(all) })
    }

    fn group(&mut self, depth: usize) -> Result<Node, Error> {
        if depth == DEPTH_MAX {
            return Err(self.error(&format!("groups are nested deeper than {DEPTH_MAX}")));
        }
        self.at += 1;
        self.skip_space(true);
        let inner = self.alternatives(depth + 1)?;
        if !self.take(")") {
            return Err(self.error("`)` is missing"));
        }
        Ok(inner)
    }

    /// What repeats of what was just read.
    fn repeated(&mut self, mut node: Node) -> Result<Node, Error> {
        loop {
            let (min, max) = match self.peek() {
                Some('*') => (0, None),
                Some('+') => (1, None),
                Some('?') => (0, Some(1)),
                Some('{') => {
                    node = self.counted(node)?;
                    continue;
                }
                _ => return Ok(node),
            };
            self.at += 1;
            node = Node::Repeat(Box::new(node), min, max);
        }
    }

    /// `{m}`, `{m,}`, `{m,n}`.
    fn counted(&mut self, node: Node) -> Result<Node, Error> {
        let start = self.at;
        self.at += 1;
        self.skip_space(true);
        let min = self.number()?;
        self.skip_space(true);
        let max = if self.take(",") {
            self.skip_space(true);
            let open = self.peek() == Some('}');
            if open { None } else { Some(self.number()?) }
        } else {
            Some(min)
        };
        self.skip_space(true);
        if !self.take("}") {
            return Err(self.error("`}` is missing"));
        }
        self.skip_space(false);
        if max.is_some_and(|max| max < min) {
            self.at = start;
            return Err(self.error("the least repetitions are more than the most"));
        }
        Ok(Node::Repeat(Box::new(node), min, max))
    }

    fn number(&mut self) -> Result<u32, Error> {
        let digits = self.rest().chars().take_while(char::is_ascii_digit).count();
        let number = self.rest()[..digits].parse().ok().filter(|number| *number <= REPEAT_MAX);
        let number = number.ok_or_else(|| {
            self.error(&format!("a number of repetitions from 0 to {REPEAT_MAX} must stand here"))
        })?;
        self.at += digits;
        Ok(number)
    }

    fn literal(&mut self) -> Result<Node, Error> {
        self.at += 1;
        let mut text = String::new();
        while !self.take("\"") {
            text.push(self.character()?);
        }
        Ok(Node::Text(text))
    }

    fn class(&mut self) -> Result<Node, Error> {
        let start = self.at;
        self.at += 1;
        let negated = self.take("^");
        let mut class = String::new();
        while !self.take("]") {
            let first = self.character()?;
            let ranged = self.peek() == Some('-') && !self.rest().starts_with("-]");
            let last = if ranged {
                self.at += 1;
                self.character()?
            } else {
                first
            };
            if last < first {
                self.at = start;
                return Err(self.error("a range of this class ends before it begins"));
            }
            let _ = write!(class, r"\x{{{:X}}}-\x{{{:X}}}", u32::from(first), u32::from(last));
        }
        match (class.is_empty(), negated) {
            (true, true) => Ok(Node::Class("(?s:.)".into())),
            (true, false) => {
                self.at = start;
                Err(self.error("this class has no characters"))
            }
            (false, true) => Ok(Node::Class(format!("[^{class}]"))),
            (false, false) => Ok(Node::Class(format!("[{class}]"))),
        }
    }

    /// A character of a literal or a class, escaped or not.
    fn character(&mut self) -> Result<char, Error> {
        let Some(first) = self.peek() else {
            return Err(self.error("the end comes inside quotes or brackets"));
        };
        self.at += first.len_utf8();
        if first != '\\' {
            return Ok(first);
        }
        let Some(escaped) = self.peek() else { return Err(self.error("the end comes after `\\`")) };
        self.at += escaped.len_utf8();
        let digits = match escaped {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            'n' => return Ok('\n'),
            'r' => return Ok('\r'),
            't' => return Ok('\t'),
            '\\' | '"' | '[' | ']' => return Ok(escaped),
            _ => {
                self.at -= escaped.len_utf8();
                return Err(self.error("this cannot be escaped"));
            }
        };
        let code = self.rest().get(..digits).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let Some(character) = code.and_then(char::from_u32) else {
            return Err(self.error(&format!("{digits} hexadecimal digits of a character must stand here")));
        };
        self.at += digits;
        Ok(character)
    }

    /// The name of a rule, as its number.
    fn name(&mut self) -> Result<usize, Error> {
        let length = self.rest().find(|next| !is_name(next)).unwrap_or(self.rest().len());
        if length == 0 {
            return Err(self.error("the name of a rule must stand here"));
        }
        let name = self.rest()[..length].to_owned();
        let number = match self.rules.numbers.get(&name) {
            Some(number) => *number,
            None if self.rules.bodies.len() == RULES_MAX => {
                return Err(self.error(&format!("there are more than {RULES_MAX} rules")));
            }
            None => {
                let number = self.rules.bodies.len();
                self.rules.numbers.insert(name, number);
                self.rules.bodies.push(None);
                self.rules.named_at.push(self.at);
                number
            }
        };
        self.at += length;
        Ok(number)
    }

    /// Skips blanks and comments, and line ends where these end nothing.
    fn skip_space(&mut self, lines: bool) {
        while let Some(next) = self.peek() {
            match next {
                ' ' | '\t' => self.at += 1,
                '\r' | '\n' if lines => self.at += 1,
                '#' => self.at += self.rest().find(['\r', '\n']).unwrap_or(self.rest().len()),
                _ => return,
            }
        }
    }

    fn take(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn rest(&self) -> &str {
        &self.source[self.at..]
    }

    fn error(&self, message: &str) -> Error {
        let before = &self.source[..self.at];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
        let place = format!("line {line}, column {column}");
        Error::Invalid { kind: Kind::Gbnf, place, message: message.to_owned() }
    }
}

fn is_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '-' || character == '_'
}

struct Writer<'a> {
    rules: &'a Rules,
    /// Which rules are not recursive, and so regular expressions.
    regular: Vec<bool>,
    lark: String,
    /// Terminals that were joined of neighbours.
    joined: usize,
}

impl<'a> Writer<'a> {
    fn new(rules: &'a Rules) -> Self {
        Self { rules, regular: regular(rules), lark: String::new(), joined: 0 }
    }

    fn write(mut self) -> String {
        let root = self.rules.numbers["root"];
        let _ = writeln!(self.lark, "start: {}", self.name(root));
        for (number, body) in self.rules.bodies.iter().enumerate() {
            let Some(body) = body else { continue };
            let text = if self.regular[number] { self.terminal(body) } else { self.rule(body) };
            let _ = writeln!(self.lark, "{}: {text}", self.name(number));
        }
        self.lark
    }

    fn name(&self, rule: usize) -> String {
        if self.regular[rule] { format!("T{rule}") } else { format!("r{rule}") }
    }

    /// A node as part of a terminal; all in it is regular.
    fn terminal(&self, node: &Node) -> String {
        match node {
            Node::Text(text) if text.is_empty() => "\"\"".into(),
            Node::Text(text) => format!("/{}/", escaped(text)),
            Node::Class(class) => format!("/{class}/"),
            Node::Rule(number) => self.name(*number),
            Node::Sequence(all) if all.is_empty() => "\"\"".into(),
            Node::Sequence(all) => {
                format!("({})", all.iter().map(|node| self.terminal(node)).collect::<Vec<_>>().join(" "))
            }
            Node::Either(all) => {
                format!("({})", all.iter().map(|node| self.terminal(node)).collect::<Vec<_>>().join(" | "))
            }
            Node::Repeat(inner, min, max) => repeat(&self.terminal(inner), *min, *max),
        }
    }

    /// A node as part of a rule.
    fn rule(&mut self, node: &Node) -> String {
        if self.is_regular(node) {
            return self.join(std::slice::from_ref(node));
        }
        match node {
            Node::Sequence(all) => {
                let mut parts = Vec::new();
                let runs: Vec<&[Node]> =
                    all.chunk_by(|a, b| self.is_regular(a) && self.is_regular(b)).collect();
                for run in runs {
                    let part = if self.is_regular(&run[0]) { self.join(run) } else { self.rule(&run[0]) };
                    parts.push(part);
                }
                format!("({})", parts.join(" "))
            }
            Node::Either(all) => {
                format!("({})", all.iter().map(|node| self.rule(node)).collect::<Vec<_>>().join(" | "))
            }
            Node::Repeat(inner, min, max) => repeat(&self.rule(inner), *min, *max),
            Node::Rule(number) => self.name(*number),
            Node::Text(_) | Node::Class(_) => self.terminal(node),
        }
    }

    /// A terminal of neighbours.
    fn join(&mut self, run: &[Node]) -> String {
        if let [Node::Rule(number)] = run {
            return self.name(*number);
        }
        let parts: Vec<String> = run.iter().map(|node| self.terminal(node)).collect();
        if parts.iter().all(|part| part == "\"\"") {
            return "\"\"".into();
        }
        let name = format!("J{}", self.joined);
        self.joined += 1;
        let _ = writeln!(self.lark, "{name}: {}", parts.join(" "));
        name
    }

    fn is_regular(&self, node: &Node) -> bool {
        match node {
            Node::Text(_) | Node::Class(_) => true,
            Node::Rule(number) => self.regular[*number],
            Node::Sequence(all) | Node::Either(all) => all.iter().all(|node| self.is_regular(node)),
            Node::Repeat(inner, ..) => self.is_regular(inner),
        }
    }
}

/// Which rules cannot reach themselves: those all of whose rules are known to be such, from the leaves up.
fn regular(rules: &Rules) -> Vec<bool> {
    let count = rules.bodies.len();
    let mut users = vec![Vec::new(); count];
    let mut unknown = vec![0_usize; count];
    for (user, body) in rules.bodies.iter().enumerate() {
        let mut used = Vec::new();
        body.iter().for_each(|body| uses(body, &mut used));
        unknown[user] = used.len();
        used.into_iter().for_each(|used: usize| users[used].push(user));
    }
    let mut regular = vec![false; count];
    let mut ready: Vec<usize> = (0..count).filter(|&rule| unknown[rule] == 0).collect();
    while let Some(rule) = ready.pop() {
        regular[rule] = true;
        for &user in &users[rule] {
            unknown[user] -= 1;
            if unknown[user] == 0 {
                ready.push(user);
            }
        }
    }
    regular
}

fn uses(node: &Node, used: &mut Vec<usize>) {
    match node {
        Node::Text(_) | Node::Class(_) => {}
        Node::Rule(number) => used.push(*number),
        Node::Sequence(all) | Node::Either(all) => all.iter().for_each(|node| uses(node, used)),
        Node::Repeat(inner, ..) => uses(inner, used),
    }
}

fn repeat(inner: &str, min: u32, max: Option<u32>) -> String {
    match (min, max) {
        (0, None) => format!("({inner})*"),
        (1, None) => format!("({inner})+"),
        (0, Some(1)) => format!("({inner})?"),
        (min, None) => format!("({inner}){{{min},}}"),
        (min, Some(max)) => format!("({inner}){{{min},{max}}}"),
    }
}

/// Text as a regular expression.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        if character.is_ascii_alphanumeric() || character == '_' {
            escaped.push(character);
        } else {
            let _ = write!(escaped, r"\x{{{:X}}}", u32::from(character));
        }
    }
    escaped
}
