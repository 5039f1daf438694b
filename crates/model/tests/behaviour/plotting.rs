//! Learning curves.

use ibex::prelude::*;
use std::collections::BTreeMap;

#[test]
fn learning_curves() {
    let values = |v: &[f64]| v.to_vec();
    let history = BTreeMap::from([
        ("loss".to_string(), values(&[2.0, 1.0, f64::NAN, 0.5])),
        ("val_loss".to_string(), values(&[2.1, 1.3, 1.2, 1.1])),
        ("a<b> & \"c\"".to_string(), values(&[0.1, 0.1, 0.1, 0.1])),
    ]);
    let mut shown = History { history, epoch: vec![0, 1, 2, 3], epochs: 4, steps: 1 };
    let svg = shown.to_svg();
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    assert_eq!(svg.matches("<g ").count(), 2, "a panel for the loss and one for the metric");
    assert!(svg.find(">loss<") < svg.find("a&lt;b&gt; &amp; \"c\""), "the loss comes first, names are escaped");
    assert_eq!(svg.matches("<circle").count(), 3 + 4 + 4, "a dot for each number");
    assert_eq!((svg.matches(">training<").count(), svg.matches(">validation<").count()), (2, 1));
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    // One epoch, and none.
    shown.history.values_mut().for_each(|v| v.truncate(1));
    shown.epoch.truncate(1);
    assert!(!shown.to_svg().contains("NaN"));
    shown.history.clear();
    shown.epoch.clear();
    assert!(shown.to_svg().ends_with("</svg>\n"));

    let path = std::env::temp_dir().join(format!("ibex-plot-{}.svg", std::process::id()));
    shown.plot(&path).expect("written");
    assert_eq!(std::fs::read_to_string(&path).expect("read"), shown.to_svg());
    std::fs::remove_file(&path).expect("removed");
    assert!(shown.plot("/nowhere/at/all.svg").is_err_and(|e| e.kind() == ibex::ErrorKind::Io));
}
