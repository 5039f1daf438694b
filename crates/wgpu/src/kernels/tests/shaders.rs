//! The shader files by themselves.

use crate::codegen::{EpilogueCode, splice};
use std::path::Path;

pub(super) fn validate(name: &str, source: &str) {
    let module =
        naga::front::wgsl::parse_str(source).unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(source)));
    let capabilities = naga::valid::Capabilities::SUBGROUP | naga::valid::Capabilities::SHADER_FLOAT16;
    naga::valid::Validator::new(naga::valid::ValidationFlags::all(), capabilities)
        .validate(&module)
        .unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(source)));
    assert!(module.entry_points.iter().any(|e| e.name == "main"), "{name} has no entry point `main`");
}

fn files() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shaders");
    let mut all: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_str().unwrap().to_string(), std::fs::read_to_string(path).unwrap())
        })
        .collect();
    all.sort();
    assert!(all.len() >= 10);
    all
}

#[test]
fn every_file_is_valid_alone() {
    for (name, source) in files() {
        validate(&name, &source);
    }
}

#[test]
fn every_file_is_valid_after_splicing() {
    for (name, source) in files().into_iter().filter(|f| f.1.contains("// @epilogue")) {
        assert!(source.contains("// @bindings"), "{name}");
        let code = EpilogueCode {
            declarations: "@group(0) @binding(7) var<storage, read_write> other: array<u32>;\n".into(),
            function: "fn epilogue(index: u32, acc: f32) {\n    other[index] = u32(acc);\n}\n\
                       fn prepare(index: u32) {}\n\
                       fn epilogue4(index: u32, acc: vec4f, four: u32) {}\n"
                .into(),
            buffers: Vec::new(),
            f16: false,
        };
        let spliced = splice(&source, &code);
        assert!(spliced.contains("other[index]") && !spliced.contains("> out:"), "{name}");
        validate(&name, &spliced);
    }
}

#[test]
fn contraction_shaders_share_their_operands() {
    let sections: Vec<String> = files()
        .into_iter()
        .filter_map(|(_, source)| {
            let (_, rest) = source.split_once("// @operands")?;
            Some(rest.split_once("// End of the operands")?.0.to_string())
        })
        .collect();
    assert_eq!(sections.len(), 4);
    assert!(sections.iter().all(|s| *s == sections[0]));
}

/// Every function of a shader: its first line and its text.
fn functions(source: &str) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    let mut open = false;
    for line in source.lines() {
        if line.starts_with("fn ") {
            all.push((line.to_string(), String::new()));
            open = !line.ends_with('}');
        } else if let Some((_, text)) = all.last_mut().filter(|_| open) {
            text.push_str(line);
            text.push('\n');
            open = line != "}";
        }
    }
    all
}

/// WGSL has no include, so variants of one kernel repeat what they share: functions of one name and type are the same text.
#[test]
fn variants_repeat_the_same_functions() {
    for (family, least) in [("lstm", 6), ("pool", 4), ("contraction", 12)] {
        let mut seen: Vec<(String, String, String)> = Vec::new();
        let mut shared = 0;
        for (name, source) in files().into_iter().filter(|f| f.0.starts_with(family)) {
            for (signature, text) in functions(&source) {
                if signature.starts_with("fn main(") || signature.starts_with("fn epilogue(") {
                    continue;
                }
                match seen.iter().find(|s| s.0 == signature) {
                    Some((_, first, own)) => {
                        assert_eq!(*own, text, "{signature} differs between {first} and {name}");
                        shared += 1;
                    }
                    None => seen.push((signature, name.clone(), text)),
                }
            }
        }
        assert!(shared >= least, "{family} shares {shared} functions");
    }
}
