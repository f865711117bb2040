#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn render(text: &str, data: &Value) -> Result<String, Fault> {
    Template::parse("t", text).and_then(|template| template.render(data, &()))
}

/// Rendered by Go 1.19's text/template with `missingkey=error`, from the same data.
#[test]
fn what_go_renders_is_rendered_alike() {
    let table: Value = serde_json::from_str(include_str!("go.json")).unwrap();
    let cases = table["rendered"].as_array().unwrap();
    assert!(cases.len() > 100, "{}", cases.len());
    for case in cases {
        let (text, want) = (case[0].as_str().unwrap(), case[1].as_str().unwrap());
        assert_eq!(render(text, &table["data"]).as_deref(), Ok(want), "{text}");
    }
}

/// The same: what Go refuses, by its syntax or when it is rendered.
#[test]
fn what_go_refuses_is_refused() {
    let table: Value = serde_json::from_str(include_str!("go.json")).unwrap();
    let cases = table["refused"].as_array().unwrap();
    assert!(cases.len() > 80, "{}", cases.len());
    for text in cases.iter().map(|text| text.as_str().unwrap()) {
        // JSON has one kind of number, and whole ones are compared with others.
        let rendered = render(text, &table["data"]);
        assert!(rendered.is_err(), "{text}: {rendered:?}");
    }
}

/// What Go learnt after 1.19 (1.22: `range` over a number; 1.23: `else with`), as its documentation has it.
#[test]
fn newer_forms_of_go_are_known() {
    let data = json!({"a": "", "b": "x", "three": 3});
    let cases = [
        ("{{range 3}}{{.}}{{end}}", "012"),
        ("{{range $i := .three}}<{{$i}}>{{end}}", "<0><1><2>"),
        ("{{range 0}}x{{else}}none{{end}}", "none"),
        ("{{with .a}}a{{else with .b}}b={{.}}{{else}}none{{end}}", "b=x"),
        ("{{with .a}}a{{else with .a}}b={{.}}{{else}}none{{end}}", "none"),
    ];
    for (text, want) in cases {
        assert_eq!(render(text, &data).as_deref(), Ok(want), "{text}");
    }
}

/// docs/booting.md: JSON has one kind of number.
#[test]
fn where_go_has_types_that_json_has_not_numbers_are_numbers() {
    // Go, which reads JSON's numbers as float64: 1.234567e+06; an error; an error; %!d(float64=8080).
    let data = json!({"big": 1234567, "port": 8080, "half": 0.5});
    let cases = [
        ("{{.big}}", "1234567"),
        ("{{eq .port 8080}} {{lt .half 1}} {{ge 1 .half}}", "true true true"),
        ("{{printf \"%d %.0f %05.1f\" .port .port .half}}", "8080 8080 000.5"),
        ("{{index \"abc\" 0}} {{18446744073709551615}}", "97 18446744073709551615"),
    ];
    for (text, want) in cases {
        assert_eq!(render(text, &data).as_deref(), Ok(want), "{text}");
    }
}

#[test]
fn a_fault_says_where_and_what() {
    let data = json!({"name": "node1", "net": {"ip": "10.0.0.9"}, "none": null});
    let cases = [
        ("a\n  {{.nam}}", "t:2:5: map has no entry for key \"nam\" (it has name, net, none)"),
        ("{{.net.mac}}", "t:1:7: map has no entry for key \"mac\" (it has ip)"),
        ("é{{.name.x}}", "t:1:9: can't evaluate field x in a string"),
        ("{{.none.x}}", "t:1:8: can't evaluate field x in a null"),
        ("x\n\n{{if .name}}y", "t:3:1: {{if}} without {{end}}"),
        ("{{\n  nosuch 1}}", "t:2:3: function \"nosuch\" not defined"),
        ("{{template \"x\"}}", "t:1:1: template \"x\" not defined"),
        ("{{index .net 1}}", "t:1:3: index: can't index a map by a int"),
        ("{{eq .net.ip 1}}", "t:1:3: eq: incompatible types for comparison: string and int"),
        ("{{.name", "t:1:1: unclosed action"),
        ("ok {{$x}}", "t:1:6: undefined variable \"$x\""),
        ("{{if .name}}{{end}}\n{{end}}", "t:2:1: unexpected {{end}}"),
    ];
    for (text, want) in cases {
        assert_eq!(render(text, &data).unwrap_err().to_string(), want, "{text}");
    }
}

#[test]
fn nothing_goes_on_for_ever_or_grows_without_end() {
    let long = json!({"list": vec![0; 2000], "text": "x".repeat(4000)});
    let within = |text: &str| render(text, &long).unwrap_err().what;
    let deep = format!("{}x{}", "{{if true}}".repeat(DEPTH + 1), "{{end}}".repeat(DEPTH + 1));
    let parentheses = format!("{{{{{}1{}}}}}", "(".repeat(DEPTH + 1), ")".repeat(DEPTH + 1));
    let else_ifs = format!("{{{{if false}}}}{}{{{{end}}}}", "{{else if false}}".repeat(DEPTH + 1));
    for (text, limit) in [
        (deep.as_str(), "nested more than"),
        (&parentheses, "nested more than"),
        (&else_ifs, "nested more than"),
        ("{{define \"a\"}}{{template \"a\"}}{{end}}{{template \"a\"}}", "does a template call itself?"),
        ("{{range .list}}{{range $.list}}{{end}}{{end}}", "steps"),
        ("{{range .list}}{{$.text}}{{end}}", "bytes"),
        ("{{printf \"%5000d\" 1}}", "width"),
        ("{{$x := .text}}{{range .list}}{{$x = print $x $x}}{{end}}", "bytes"),
        ("{{range .list}}{{if print $.text $.text}}{{end}}{{range 500}}{{end}}{{end}}", "steps"),
        ("{{range 99999999999}}{{end}}", "steps"),
        // None of these may make beforehand what it does not come to.
        ("{{range 999999999999}}{{range 999999999999}}{{break}}{{end}}{{end}}", "steps"),
        ("{{range 999999}}{{if slice $.list 0 2000}}{{end}}{{end}}", "steps"),
        ("{{range .list}}{{range slice $.list 0 2000}}{{break}}{{end}}{{end}}", "steps"),
        ("{{range 999999}}{{if eq $.text $.text}}{{end}}{{end}}", "steps"),
        (&format!("{{{{print {}}}}}", ".list ".repeat(200_000)), "more than 4194304 bytes"),
        (&format!("{{{{println {}}}}}", ".list ".repeat(200_000)), "more than 4194304 bytes"),
        (&format!("{{{{html {}}}}}", ".list ".repeat(200_000)), "more than 4194304 bytes"),
        (&format!("{{{{printf \"\" {}}}}}", ".list ".repeat(200_000)), "more than 4194304 bytes"),
        ("{{printf \"%4096d\" .list}}", "more than 4194304 bytes"),
        (&"{{$a := 1}}".repeat(VARIABLES), "variables in scope"),
    ] {
        assert!(within(text).contains(limit), "{}: {}", &text[..40.min(text.len())], within(text));
    }
    assert!(Template::parse("t", &" ".repeat(OUTPUT + 1)).is_err());
}

/// 800,000 numbers, each of which once asked the rest of the text.
#[test]
fn numbers_are_read_in_one_go_and_know_nothing_of_what_stands_behind_them() {
    let text = "{{printf \"%.0f\" 1e+3}} mask 0xff {{0xff}} {{-1e-1}}";
    assert_eq!(render(text, &Value::Null).as_deref(), Ok("1000 mask 0xff 255 -0.1"));
    let many = format!("{{{{print {}}}}}", "1e+1 ".repeat(800_000));
    assert!(Template::parse("t", &many).is_ok());
}

struct Known;

impl Functions for Known {
    fn has(&self, name: &str) -> bool {
        ["URL", "fields"].contains(&name)
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Result<Value, String> {
        match (name, arguments) {
            ("URL", [Value::String(url)]) => Ok(format!("http://here/{url}").into()),
            ("fields", _) => Ok(json!({"a": [1, {"b": 2}]})),
            _ => Err("takes a URL".to_owned()),
        }
    }
}

/// PX-53: a caller's functions, beside the language's own.
#[test]
fn callers_give_functions() {
    let render = |text: &str| Template::parse("t", text).and_then(|t| t.render(&Value::Null, &Known));
    assert_eq!(render("a={{ URL \"x\" }} {{URL `y` | len}}").as_deref(), Ok("a=http://here/x 13"));
    assert_eq!(render("{{(index (fields).a 1).b}}{{range (fields).a}}.{{end}}").as_deref(), Ok("2.."));
    assert_eq!(render("{{ URL 1 }}").unwrap_err().what, "URL: takes a URL");
    // PX-02: known before anything is rendered, wherever it is called.
    let template = Template::parse("t", "{{if false}}{{ID \"x\"}}{{end}}").unwrap();
    assert_eq!(template.check(&Known).unwrap_err().to_string(), "t:1:15: function \"ID\" not defined");
}

/// Pieces that a template is made of, in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{{",
        "}}",
        "{{-",
        " -}}",
        "/*",
        "*/",
        ".",
        ".a",
        "$",
        "$x",
        ":=",
        "=",
        "|",
        ",",
        "(",
        ")",
        " ",
        "\n",
        "if",
        "else",
        "end",
        "range",
        "with",
        "define",
        "template",
        "block",
        "break",
        "continue",
        "nil",
        "true",
        "1",
        "-1",
        "1.5",
        "0x",
        "'a'",
        "\"a\"",
        "\"%5d\"",
        "`a`",
        "\"",
        "é",
        "and",
        "or",
        "not",
        "len",
        "index",
        "slice",
        "print",
        "printf",
        "eq",
        "lt",
        "html",
        "{{if .a}}",
        "{{range .list}}",
        "{{end}}",
        "{{.a}}",
        "{{else}}",
        "{{$x := .a}}",
        "{{template \"a\"}}",
        "{{define \"a\"}}",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_rendered_or_refused_and_always_alike(text in prop_oneof![any::<String>(), pieces()]) {
        let data = json!({"a": "x", "list": [1, "b", null, {"a": 2}], "é": 1});
        let first = render(&text, &data);
        if let Err(fault) = &first {
            prop_assert!(fault.line >= 1 && fault.column >= 1 && !fault.what.is_empty());
        }
        prop_assert_eq!(render(&text, &data), first);
    }

    /// What stands outside of actions comes out as it went in.
    #[test]
    fn text_without_actions_is_itself(text in "[^{]*") {
        prop_assert_eq!(render(&text, &Value::Null), Ok(text));
    }
}
