//! Files of measured choices.

use crate::codegen::Reductions;
use crate::kernels::Cooperative;
use crate::kernels::{Contractions, Extent};
use crate::measure::{product, softmax};
use crate::tune::Tuning;
use ibex_core::{DType, ErrorKind};
use std::time::Duration;

fn tuning(adapter: &str, kernel: Contractions) -> Tuning {
    let choice = |m| (Extent { z: 1, m, n: 256, k: 64 }, kernel);
    Tuning {
        adapter: adapter.into(),
        driver: "1.0".into(),
        contractions: vec![choice(64), choice(1024)],
        ..Tuning::default()
    }
}

/// A kernel for `f16` that was found wrong does not run because that for `f32` was right.
#[test]
fn other_types_say_nothing_of_cooperative_matrices() {
    let e = Extent { z: 1, m: 64, n: 256, k: 64 };
    let mut tuned = tuning("a", Contractions::Cooperative);
    assert_eq!(tuned.contraction(e, false), Some(Contractions::Cooperative));
    assert_eq!(tuned.contraction(e, true), None);
    tuned.halves = std::mem::take(&mut tuned.contractions);
    assert_eq!(tuned.contraction(e, true), Some(Contractions::Cooperative));
    assert_eq!(tuning("a", Contractions::Large).contraction(e, true), Some(Contractions::Large));
}

#[test]
fn files_keep_every_adapter() {
    let path = std::env::temp_dir().join(format!("ibex-tuning-{}.json", std::process::id()));
    let (a, b) = (tuning("a", Contractions::Large), tuning("b", Contractions::Tiled));
    let halves = tuning("a", Contractions::Cooperative).contractions;
    let newer = Tuning { halves, reductions: Some(Reductions::Subgroup), ..tuning("a", Contractions::Subgroup) };
    assert!(newer.is_cooperative() && !a.is_cooperative());
    let text = newer.merged(&b.merged(&a.merged("no tuning file")));
    std::fs::write(&path, text).unwrap();
    assert_eq!(Tuning::read(&path, "a", "1.0").unwrap(), Some(newer));
    assert_eq!(Tuning::read(&path, "b", "1.0").unwrap(), Some(b));
    // What a newer version says of another adapter stays, and is an error for that one alone.
    let text = std::fs::read_to_string(&path).unwrap().replacen("large", "newest", 1).replacen("tiled", "newest", 1);
    let kept = tuning("c", Contractions::Tiled).merged(&text);
    assert!(kept.contains("newest"), "{kept}");
    std::fs::write(&path, kept).unwrap();
    assert!(Tuning::read(&path, "c", "1.0").unwrap().is_some());
    assert_eq!(Tuning::read(&path, "b", "1.0").unwrap_err().kind(), ErrorKind::Value);
    // Another driver is another device.
    assert_eq!(Tuning::read(&path, "a", "2.0").unwrap(), None);
    for broken in ["", "{}", "[1, 2", "[1, 2]", r#"{"format": "ibex-tuning-1", "devices": [{"adapter": 1}]}"#] {
        std::fs::write(&path, broken).unwrap();
        let error = Tuning::read(&path, "a", "1.0").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Value);
        assert!(error.to_string().contains("ibex-tuning"), "{error}");
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(Tuning::read(&path, "a", "1.0").unwrap(), None);
}

#[test]
fn sizes_nearby_share_a_choice() {
    let mut tuning = tuning("a", Contractions::Large);
    tuning.contractions[1].1 = Contractions::Tiled;
    let chosen = |m, n, k| tuning.contraction(Extent { z: 1, m, n, k }, false);
    assert_eq!(chosen(64, 256, 64), Some(Contractions::Large));
    assert_eq!(chosen(100, 300, 50), Some(Contractions::Large));
    assert_eq!(chosen(1500, 200, 100), Some(Contractions::Tiled));
    assert_eq!(chosen(64, 4096, 64), None);
    assert_eq!(chosen(1, 256, 64), None);
}

/// Tuning finds a kernel that is wrong: the emulation in workgroups of half a subgroup, whose other half is missing.
#[test]
fn wrong_kernels_are_found() {
    let e = Extent { z: 1, m: 37, n: 45, k: 70 };
    for (subgroup, right) in [(8, true), (1, false)] {
        let change = |traits: &mut crate::dispatch::Traits| {
            traits.cooperative = Some(Cooperative { subgroup, ..Cooperative::emulated(traits.f16) });
        };
        let Some(backends) = super::forced(Contractions::Cooperative, change) else { return };
        for dtype in [DType::F16, DType::F32] {
            let got = product(&backends[1], e, (dtype, false), true, Duration::ZERO);
            assert_eq!(got.is_ok(), right, "{dtype}: {got:?}");
            assert!(right || got.is_err_and(|e| e.to_string().contains("element 4 of")));
        }
    }
    let Some(backend) = super::by_subgroups() else { return };
    softmax(backend, [5, 4099], true, Duration::ZERO).unwrap();
}
