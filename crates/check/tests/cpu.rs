//! The CPU backend against the reference: every case fused, unfused, with few bindings and with split reductions, and random graphs.

use ibex_check::{WithCaps, cases, compare, failures, random_graph, random_step, shrink, variants};
use ibex_core::Device;
use ibex_cpu::CpuBackend;

#[test]
fn conformance() {
    for (name, change) in variants() {
        let device = Device::new(WithCaps::new(CpuBackend::new(), change));
        let failed = failures(&cases(), |case| compare(&device, case));
        assert!(failed.is_empty(), "{name}: {failed:#?}");
    }
}

#[test]
fn random_programs() {
    for (name, change) in variants() {
        let device = Device::new(WithCaps::new(CpuBackend::new(), change));
        for seed in 0..100 {
            assert_eq!(shrink(24, |n| random_graph(seed, n), |c| compare(&device, c)), None, "{name} {seed}");
            assert_eq!(shrink(12, |n| random_step(seed, n), |c| compare(&device, c)), None, "{name} {seed}");
        }
    }
}
