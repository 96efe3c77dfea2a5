//! Markdown to plain text, while it comes.
//!
//! The text is gone through once. At each place it is either clear from what is there what comes out, or more is waited
//! for; so it does not matter how the text is cut. It is no parser of CommonMark: what a reader would miss stays.

use minerva_plugin::prelude::*;

/// How far the end of a link's text, or of its address, may be away, in bytes.
const LINK_BYTES_MAX: usize = 512;

/// How long a line of nothing but marks can be, in bytes.
const MARKS_BYTES_MAX: usize = 80;

/// The stream processor.
pub struct PlainText {
    /// What is not clear yet.
    kept: String,
    place: Place,
    /// The character before, for marks that depend on it.
    before: char,
}

/// Where in the text we are.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// At the beginning of a line.
    Line,
    /// Within a line.
    Words,
    /// In a span of code that ends with so many backticks.
    Code(usize),
    /// At the beginning of a line of fenced code, which ends with so many of these.
    FencedLine(char, usize),
    /// Within such a line.
    Fenced(char, usize),
    /// In what stands behind the fence: nobody hears it. Then the code begins, or the text goes on.
    Fence(Option<(char, usize)>),
}

/// What is made of the beginning of what is kept.
enum Decided {
    /// More has to be there.
    Later,
    /// So many bytes become this text, and the place is another.
    Now(usize, String, Place),
}

use Decided::{Later, Now};

impl Stream for PlainText {
    type Args = ();
    const ABOUT: About = about!("Takes the Markdown out of an answer, while it comes.");

    fn open((): ()) -> Result<Self, Error> {
        Ok(Self { kept: String::new(), place: Place::Line, before: '\n' })
    }

    fn push(&mut self, chunk: Chunk) -> Vec<Event> {
        self.kept.push_str(&chunk.text);
        vec![Event::Text(self.decide(false))]
    }

    fn close(&mut self, _reason: Finish) -> Vec<Event> {
        vec![Event::Text(self.decide(true))]
    }
}

impl PlainText {
    fn decide(&mut self, is_end: bool) -> String {
        let mut said = String::new();
        let mut at = 0;
        while at < self.kept.len() {
            let text = &self.kept[at..];
            let decided = match self.place {
                Place::Line => line(text, is_end),
                Place::Words => words(text, self.before, is_end),
                Place::Code(ticks) => code(text, ticks, is_end),
                Place::FencedLine(mark, count) => fenced_line(text, mark, count, is_end),
                Place::Fenced(mark, count) => fenced(text, mark, count),
                Place::Fence(then) => fence(text, then),
            };
            let Now(length, out, place) = decided else { break };
            // A link becomes its text, which may have marks of its own.
            if self.place == Place::Words && out.is_empty() && text.starts_with(['[', '!']) {
                let inner = link(text, is_end).and_then(Result::ok).map(|(inner, _)| text[inner].to_owned());
                self.kept.replace_range(at..at + length, &inner.unwrap_or_default());
                continue;
            }
            at += length;
            self.before = self.kept[..at].chars().next_back().unwrap_or('\n');
            self.place = place;
            said.push_str(&out);
        }
        self.kept.drain(..at);
        said
    }
}

/// How many bytes of a text's beginning are these characters.
fn run(text: &str, of: impl Fn(char) -> bool) -> usize {
    text.find(|c| !of(c)).unwrap_or(text.len())
}

/// What stands in front of the words of a line.
fn line(text: &str, is_end: bool) -> Decided {
    let indent = run(text, |c| c == ' ' || c == '\t');
    let rest = &text[indent..];
    let as_it_is = Now(indent, text[..indent].to_owned(), Place::Words);
    if indent > MARKS_BYTES_MAX {
        return as_it_is;
    }
    let Some(mark) = rest.chars().next() else { return if is_end { as_it_is } else { Later } };
    let count = run(rest, |c| c == mark).min(MARKS_BYTES_MAX);
    let is_whole = count < rest.len() || is_end || count == MARKS_BYTES_MAX;
    let next = rest[count..].chars().next().unwrap_or('\n');
    match mark {
        '`' | '~' if count >= 3 && is_whole => {
            Now(indent + count, String::new(), Place::Fence(Some((mark, count))))
        }
        '`' | '~' if count < 3 && is_whole => as_it_is,
        '#' if count <= 6 && is_whole && (next == ' ' || next == '\n') => {
            Now(indent + count + usize::from(next == ' '), String::new(), Place::Words)
        }
        '#' if count > 6 || is_whole => as_it_is,
        // What comes behind it is the beginning of a line as well.
        '>' if rest.len() > 1 || is_end => {
            Now(indent + 1 + usize::from(rest[1..].starts_with(' ')), String::new(), Place::Line)
        }
        '-' | '*' | '_' | '+' => {
            let marks = run(rest, |c| c == mark || c == ' ');
            let is_rule = mark != '+' && rest[..marks].matches(mark).count() >= 3;
            if marks < MARKS_BYTES_MAX && marks == rest.len() && !is_end {
                return Later;
            }
            if is_rule && marks < MARKS_BYTES_MAX && rest[marks..].chars().next().is_none_or(|c| c == '\n') {
                return Now(indent + marks, String::new(), Place::Words);
            }
            if mark != '_' && rest[1..].starts_with(' ') {
                return Now(indent + 2, format!("{}- ", &text[..indent]), Place::Words);
            }
            as_it_is
        }
        '`' | '~' | '#' | '>' => Later,
        _ => as_it_is,
    }
}

/// The next of the words of a line, or a mark among them.
fn words(text: &str, before: char, is_end: bool) -> Decided {
    let Some(first) = text.chars().next() else { return Later };
    let literal = |length: usize| Now(length, text[..length].to_owned(), Place::Words);
    match first {
        '\n' => Now(1, "\n".to_owned(), Place::Line),
        '`' | '*' | '_' | '~' => {
            let count = run(text, |c| c == first);
            if count == text.len() && !is_end && count < MARKS_BYTES_MAX {
                return Later;
            }
            let next = text[count..].chars().next().unwrap_or(' ');
            let is_alone = before.is_whitespace() && next.is_whitespace();
            let is_inside = before.is_alphanumeric() && next.is_alphanumeric();
            if count >= MARKS_BYTES_MAX {
                literal(MARKS_BYTES_MAX)
            } else if first == '`' {
                Now(count, String::new(), Place::Code(count))
            } else if is_alone || is_inside || (first == '~' && count != 2) {
                literal(count)
            } else {
                Now(count, String::new(), Place::Words)
            }
        }
        '\\' => match text[1..].chars().next() {
            Some(next) if next.is_ascii_punctuation() => Now(2, next.to_string(), Place::Words),
            None if !is_end => Later,
            _ => literal(1),
        },
        '[' | '!' => match link(text, is_end) {
            None => Later,
            Some(Ok((_, length))) => Now(length, String::new(), Place::Words),
            Some(Err(())) => literal(1),
        },
        _ => literal(run(text, |c| !"\n`*_~\\[!".contains(c)).max(first.len_utf8())),
    }
}

/// Where a link's or an image's text is, and how long all of it is. None if more has to be there, an error if it is none.
fn link(text: &str, is_end: bool) -> Option<Result<(std::ops::Range<usize>, usize), ()>> {
    let start = if text.starts_with('!') { 2 } else { 1 };
    if text.len() < start {
        return is_end.then_some(Err(()));
    }
    if start == 2 && !text[1..].starts_with('[') {
        return Some(Err(()));
    }
    let end = match closing(&text[start..], '[', ']', is_end)? {
        Ok(end) => start + end,
        Err(()) => return Some(Err(())),
    };
    match text[end + 1..].chars().next() {
        None if !is_end => None,
        Some('(') => {
            Some(closing(&text[end + 2..], '(', ')', is_end)?.map(|at| (start..end, end + 2 + at + 1)))
        }
        _ => Some(Err(())),
    }
}

/// Where what was opened is closed. None if more has to be there, an error if it is not closed in time.
fn closing(text: &str, open: char, close: char, is_end: bool) -> Option<Result<usize, ()>> {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        if c == '\n' || at >= LINK_BYTES_MAX {
            return Some(Err(()));
        }
        if c == close && depth == 0 {
            return Some(Ok(at));
        }
        depth += i32::from(c == open) - i32::from(c == close);
    }
    is_end.then_some(Err(()))
}

fn code(text: &str, ticks: usize, is_end: bool) -> Decided {
    let count = run(text, |c| c == '`');
    if count == 0 {
        let length = run(text, |c| c != '`' && c != '\n');
        return match length {
            // A span does not go beyond its line here: what is meant as an apostrophe must not swallow the rest.
            0 => Now(1, "\n".to_owned(), Place::Line),
            length => Now(length, text[..length].to_owned(), Place::Code(ticks)),
        };
    }
    if count == text.len() && !is_end && count <= ticks {
        return Later;
    }
    if count == ticks {
        Now(count, String::new(), Place::Words)
    } else {
        Now(1, "`".to_owned(), Place::Code(ticks))
    }
}

/// A line of fenced code, or the fence that ends it.
fn fenced_line(text: &str, mark: char, count: usize, is_end: bool) -> Decided {
    let marks = run(text, |c| c == mark || c == ' ');
    let is_whole = marks < text.len() || is_end || marks >= MARKS_BYTES_MAX;
    if !is_whole {
        return Later;
    }
    let is_fence = marks < MARKS_BYTES_MAX
        && text[..marks].trim().chars().filter(|c| *c == mark).count() >= count
        && !text[..marks].trim().contains(' ')
        && text[marks..].chars().next().is_none_or(|c| c == '\n');
    if is_fence {
        Now(marks, String::new(), Place::Fence(None))
    } else {
        Now(0, String::new(), Place::Fenced(mark, count))
    }
}

fn fenced(text: &str, mark: char, count: usize) -> Decided {
    match run(text, |c| c != '\n') {
        0 => Now(1, "\n".to_owned(), Place::FencedLine(mark, count)),
        length => Now(length, text[..length].to_owned(), Place::Fenced(mark, count)),
    }
}

fn fence(text: &str, then: Option<(char, usize)>) -> Decided {
    match run(text, |c| c != '\n') {
        0 => Now(1, String::new(), then.map_or(Place::Line, |(mark, count)| Place::FencedLine(mark, count))),
        length => Now(length, String::new(), Place::Fence(then)),
    }
}

export!(stream: PlainText);

#[cfg(test)]
mod tests {
    use super::*;
    use minerva_plugin::testing;

    fn plain(text: &str) -> String {
        let single: Vec<String> = text.chars().map(String::from).collect();
        let joined = |events: Vec<Event>| match &events[..] {
            [Event::Text(text)] => text.clone(),
            other => panic!("{other:?}"),
        };
        let whole = joined(testing::run::<PlainText>("{}", [text]).expect("it runs"));
        let cut =
            joined(testing::run::<PlainText>("{}", single.iter().map(String::as_str)).expect("it runs"));
        assert_eq!(whole, cut, "{text:?}");
        whole
    }

    #[test]
    fn marks_go_and_words_stay() {
        for (text, expected) in [
            ("# Owls\n\nThey **hunt** at *night*.", "Owls\n\nThey hunt at night."),
            ("####### seven\n#hash\n### \n", "####### seven\n#hash\n\n"),
            ("- one\n* two\n  + three\n1. four", "- one\n- two\n  - three\n1. four"),
            ("> quoted\n> > twice", "quoted\ntwice"),
            ("a\n---\nb\n* * *\nc\n-- d", "a\n\nb\n\nc\n-- d"),
            ("***both*** and ~~gone~~ ~5 km", "both and gone ~5 km"),
            ("2 * 3 and 2*3, snake_case and _it_", "2 * 3 and 2*3, snake_case and it"),
            ("`let x = *y;` and ``a`b``", "let x = *y; and a`b"),
            (r"\*no\* C:\dir", r"*no* C:\dir"),
        ] {
            assert_eq!(plain(text), expected, "{text:?}");
        }
    }

    #[test]
    fn links_become_their_text() {
        for (text, expected) in [
            ("See [the *owl*](https://x.y/a_(b)).", "See the owl."),
            ("![An owl](owl.png)!", "An owl!"),
            ("[![logo](a.png)](b)", "logo"),
            ("[1] and [2] (3) [x", "[1] and [2] (3) [x"),
            ("wow! [a\nb](c)", "wow! [a\nb](c)"),
        ] {
            assert_eq!(plain(text), expected, "{text:?}");
        }
        let long = format!("[{}](x)", "y".repeat(600));
        assert_eq!(plain(&long), long);
    }

    #[test]
    fn code_stays_as_it_is() {
        assert_eq!(plain("Look:\n```py\n# not *this*\n``\n```\n*done*"), "Look:\n# not *this*\n``\ndone");
        assert_eq!(plain("~~~\na\n```\n~~~\nb"), "a\n```\nb");
        assert_eq!(plain("```\nno end"), "no end");
    }
}
