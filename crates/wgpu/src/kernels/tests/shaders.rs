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
            function: "fn epilogue(index: u32, acc: f32) {\n    other[index] = u32(acc);\n}\n".into(),
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
    assert_eq!(sections.len(), 2);
    assert_eq!(sections[0], sections[1]);
}
