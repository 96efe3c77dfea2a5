//! Answers of each family, and what is read out of them, however they are cut.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// (template's words, end of the prompt, answer, what is read: thinking in `⟨⟩`, a call as `name(arguments)`).
const CASES: &[(&str, &str, &str, &str)] = &[
    // Hermes, Qwen
    ("<tool_call>", "", "Hello there.", "Hello there."),
    ("<tool_call>", "", "a <tool_box> b", "a <tool_box> b"),
    (
        "<tool_call>",
        "",
        "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1, \"b\": \"}\"}}\n</tool_call>",
        "add({\"a\": 1, \"b\": \"}\"})",
    ),
    (
        "<tool_call>",
        "",
        "I look.\n\n<tool_call>{\"name\": \"add\", \"arguments\": {}}</tool_call>\n<tool_call>\n{\"name\": \"now\", \"arguments\": {\"z\": [1]}}\n</tool_call>\n",
        "I look.add({})now({\"z\": [1]})",
    ),
    ("<tool_call>", "", "<tool_call>{\"name\": \"now\"}</tool_call>", "now({})"),
    (
        "<tool_call>",
        "",
        "<tool_call>{\"arguments\": {\"a\": 1}, \"name\": \"add\"}</tool_call> Done.",
        "add({\"a\":1})Done.",
    ),
    (
        "<tool_call>",
        "",
        "<tool_call>{\"name\": \"add\", \"arguments\": \"{\\\"a\\\": 1}\"}</tool_call>",
        "add({\"a\": 1})",
    ),
    (
        "<tool_call>",
        "",
        "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1}\n</tool_call>",
        "add({\"a\": 1})",
    ),
    ("<tool_call>", "", "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1", "add({\"a\": 1"),
    ("<tool_call>", "", "<tool_call>what?</tool_call>", "<tool_call>what?</tool_call>"),
    (
        "<tool_call>",
        "",
        "<tool_call>[{\"name\": \"add\", \"arguments\": {}}, {\"name\": \"now\", \"arguments\": {}}]</tool_call>",
        "add({})now({})",
    ),
    ("<tool_call>", "", "ends in space \n", "ends in space \n"),
    // Thinking
    ("<tool_call></think>", "", "<think>\nTwo and two.\n</think>\n\nFour.", "⟨Two and two.⟩Four."),
    ("<tool_call></think>", "", "\n <think>a\n\nb</think>c</think>", "⟨a\n\nb⟩c</think>"),
    ("<tool_call></think>", "", "<think>\n\n</think>\n\nFour.", "Four."),
    ("<tool_call></think>", "", "Say <think> aloud.", "Say <think> aloud."),
    ("<tool_call></think>", "<|im_start|>assistant\n<think>\n", "Hm.\n</think>\nFour.", "⟨Hm.⟩Four."),
    ("<tool_call></think>", "<think>\n\n</think>\n\n", "Four.", "Four."),
    ("<tool_call></think>", "", "<think>never ends ", "⟨never ends⟩"),
    (
        "<tool_call></think>",
        "",
        "<think>x</think>\n<tool_call>{\"name\": \"now\", \"arguments\": {}}</tool_call>",
        "⟨x⟩now({})",
    ),
    // Llama 3
    ("ipython", "", "{\"name\": \"add\", \"parameters\": {\"a\": 1}}", "add({\"a\": 1})"),
    ("ipython", "", "<|python_tag|>{\"name\": \"add\", \"parameters\": {\"a\": 1}}", "add({\"a\": 1})"),
    ("ipython", "", "{\"name\": \"Tobias\", \"age\": 3}", "{\"name\": \"Tobias\", \"age\": 3}"),
    ("ipython", "", "{\"name\": \"drop\", \"parameters\": {}}", "{\"name\": \"drop\", \"parameters\": {}}"),
    (
        "ipython",
        "",
        "[{\"name\": \"add\", \"parameters\": {}}, {\"name\": \"now\", \"parameters\": {\"z\": 1}}]",
        "add({})now({\"z\": 1})",
    ),
    ("ipython", "", "[1, 2, 3]", "[1, 2, 3]"),
    ("ipython", "", " {\"na", " {\"na"),
    // Mistral
    (
        "[TOOL_CALLS]",
        "",
        "[TOOL_CALLS][{\"name\": \"add\", \"arguments\": {\"a\": 1}, \"id\": \"x}\"}, {\"name\": \"now\", \"arguments\": {}}]",
        "add({\"a\": 1})now({})",
    ),
    (
        "[TOOL_CALLS][ARGS]",
        "",
        "[TOOL_CALLS]add[ARGS]{\"a\": 1}[TOOL_CALLS]now[ARGS]{}",
        "add({\"a\": 1})now({})",
    ),
    // Granite
    ("<|tool_call|>", "", "<|tool_call|>[{\"name\": \"add\", \"arguments\": {\"a\": 1}}]", "add({\"a\": 1})"),
    // Qwen3-Coder
    (
        "<function=<parameter=",
        "",
        "I add.\n\n<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n<parameter=s>\n12\n\n3\n</parameter>\n<parameter=f>\nTrue\n</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=now>\n</function>\n</tool_call>",
        "I add.add({\"a\": 1, \"s\": \"12\\n\\n3\", \"f\": true})now({})",
    ),
    (
        "<function=<parameter=",
        "",
        "<tool_call><function=add><parameter=x>[1, {\"y\": 2}]</parameter><parameter=z>a < b</parameter></function></tool_call> Done.",
        "add({\"x\": [1,{\"y\":2}], \"z\": \"a < b\"})Done.",
    ),
    ("<function=<parameter=", "", "<tool_call>\n<function=add>\n<parameter=s>\nnever en", "add("),
    (
        "<function=<parameter=",
        "",
        "<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n",
        "add({\"a\": 1})",
    ),
    // GLM
    (
        "<arg_key></think>",
        "",
        "<think>Hm.</think>\n<tool_call>add\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n<arg_key>s</arg_key>\n<arg_value>2 < 3</arg_value>\n</tool_call>",
        "⟨Hm.⟩add({\"a\": 1, \"s\": \"2 < 3\"})",
    ),
    (
        "<arg_key>",
        "",
        "<tool_call>now</tool_call><tool_call>add<arg_key>a</arg_key><arg_value>1</arg_value></tool_call>",
        "now({})add({\"a\": 1})",
    ),
    ("<arg_key>", "", "<tool_call>now", "<tool_call>now"),
    // Functionary
    (
        "<function=",
        "",
        "<function=add>{\"a\": 1}</function><function=now>{}</function>",
        "add({\"a\": 1})now({})",
    ),
    ("<function=", "", "<function=", "<function="),
    // DeepSeek
    (
        "<｜tool▁call▁begin｜>```json</think>",
        "<think>\n",
        "So.\n</think>\n\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{\"a\": 1}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "⟨So.⟩add({\"a\": 1})now({})",
    ),
    (
        "<｜tool▁call▁begin｜>",
        "",
        "Well.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>add<｜tool▁sep｜>{\"a\": 1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "Well.add({\"a\": 1})",
    ),
    // gpt-oss
    (
        "<|channel|><|message|>",
        "",
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Four.",
        "⟨Hm.⟩Four.",
    ),
    (
        "<|channel|><|message|>",
        "",
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.add <|constrain|>json<|message|>{\"a\": 1}",
        "⟨Hm.⟩add({\"a\": 1})",
    ),
    (
        "<|channel|><|message|>",
        "",
        "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant to=functions.now<|channel|>commentary json<|message|>{}",
        "I look.now({})",
    ),
    ("<|channel|><|message|>", "", "Four.", "Four."),
    // A family that nobody knows
    ("", "", "<tool_call>{\"name\": \"add\", \"arguments\": {}}</tool_call>", "add({})"),
    ("", "", "{\"name\": \"add\", \"arguments\": {\"a\": 2}}", "add({\"a\": 2})"),
];

fn reader(template: &str, prompt_end: &str) -> Reader {
    let parameters =
        json!({"properties": {"a": {"type": "integer"}, "s": {"type": "string"}, "f": {"type": "boolean"}}});
    let tool = |name: &str| Tool { name: name.to_owned(), parameters: parameters.clone() };
    let tools = vec![tool("add"), tool("now")];
    let wanted = Wanted { reasoning: true, tools, prompt_end: prompt_end.to_owned() };
    Reader::new(Dialect::of_template(template), wanted).unwrap()
}

/// Reads an answer in pieces that end at the given bytes.
fn read(mut reader: Reader, answer: &str, cuts: &[usize]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut start = 0;
    for &cut in cuts.iter().chain([&answer.len()]) {
        let cut = (start..=cut.max(start)).rev().find(|at| answer.is_char_boundary(*at)).unwrap_or(start);
        pieces.extend(reader.push(&answer[start..cut]));
        start = cut;
    }
    pieces.extend(reader.finish());
    pieces
}

fn shown(pieces: &[Piece]) -> String {
    let mut text = String::new();
    let (mut thinking, mut call) = (false, None);
    for piece in pieces {
        if thinking && !matches!(piece, Piece::Reasoning(_)) {
            text.push('⟩');
            thinking = false;
        }
        let index = if let Piece::Tool(delta) = piece { Some(delta.index) } else { None };
        if call.is_some() && call != index {
            text.push(')');
            call = None;
        }
        match piece {
            Piece::Text(more) => text.push_str(more),
            Piece::Reasoning(more) => {
                if !thinking {
                    text.push('⟨');
                }
                thinking = true;
                text.push_str(more);
            }
            Piece::Tool(delta) => {
                if let Some(name) = &delta.name {
                    assert!(delta.id.is_some() && delta.arguments.is_empty(), "{delta:?}");
                    text.push_str(&format!("{name}("));
                }
                text.push_str(&delta.arguments);
                call = index;
            }
        }
    }
    text + if thinking { "⟩" } else { "" } + if call.is_some() { ")" } else { "" }
}

#[test]
fn every_family_is_read_however_it_is_cut() {
    for (template, prompt_end, answer, expected) in CASES {
        // An unfinished call has no closing bracket in the table.
        let expected = if expected.matches('(').count() > expected.matches(')').count() {
            format!("{expected})")
        } else {
            (*expected).to_owned()
        };
        let whole = read(reader(template, prompt_end), answer, &[]);
        assert_eq!(shown(&whole), expected, "{template}: {answer}");
        let every_byte: Vec<usize> = (0..answer.len()).collect();
        let bytes = read(reader(template, prompt_end), answer, &every_byte);
        assert_eq!(shown(&bytes), expected, "{template}, byte by byte: {answer}");
    }
}

#[test]
fn without_tools_and_thinking_there_is_nothing_to_read() {
    let dialect = Dialect::of_template("<tool_call></think>");
    assert!(Reader::new(dialect, Wanted::default()).is_none());
    let mut only_thinking = Reader::new(dialect, Wanted { reasoning: true, ..Wanted::default() }).unwrap();
    let mut pieces = only_thinking.push("<think>x</think><tool_call>{\"name\": \"add\"}</tool_call>");
    pieces.extend(only_thinking.finish());
    let expected =
        [Piece::Reasoning("x".into()), Piece::Text("<tool_call>{\"name\": \"add\"}</tool_call>".into())];
    assert_eq!(pieces, expected);
}

#[test]
fn calls_have_names_of_their_own() {
    let answer = "<tool_call>{\"name\": \"add\"}</tool_call>".repeat(20);
    let pieces = read(reader("<tool_call>", ""), &answer, &[]);
    let ids = pieces.iter().filter_map(|piece| match piece {
        Piece::Tool(delta) => delta.id.clone(),
        _ => None,
    });
    let ids: std::collections::BTreeSet<String> = ids.collect();
    assert_eq!(ids.len(), 20);
    assert!(ids.iter().all(|id| id.len() == 29 && id.starts_with("call_")), "{ids:?}");
    let pieces = read(reader("[TOOL_CALLS]", ""), "[TOOL_CALLS][{\"name\": \"add\"}]", &[]);
    let Some(Piece::Tool(ToolDelta { id: Some(id), .. })) = pieces.first() else { panic!("{pieces:?}") };
    assert!(id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
}

proptest! {
    #[test]
    fn cuts_change_nothing(case in 0..CASES.len(), cuts in prop::collection::vec(0_usize..300, 0..6)) {
        let (template, prompt_end, answer, _) = CASES[case];
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(answer.len())).collect();
        cuts.sort_unstable();
        let whole = shown(&read(reader(template, prompt_end), answer, &[]));
        prop_assert_eq!(shown(&read(reader(template, prompt_end), answer, &cuts)), whole);
    }

    #[test]
    fn any_text_ends_and_loses_no_letters(template in 0..CASES.len(), text in "[<>|{}\\[\\]\":,a \n]{0,60}") {
        let pieces = read(reader(CASES[template].0, ""), &text, &[]);
        let every_byte: Vec<usize> = (0..text.len()).collect();
        prop_assert_eq!(shown(&pieces), shown(&read(reader(CASES[template].0, ""), &text, &every_byte)));
        let calls = pieces.iter().any(|piece| matches!(piece, Piece::Tool(_)));
        if !calls && !text.contains("<|") {
            let count = |text: &str| text.matches('a').count();
            prop_assert_eq!(count(&shown(&pieces)), count(&text));
        }
    }
}
