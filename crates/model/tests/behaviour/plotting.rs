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
    assert!(shown.plot(path.with_extension("png")).is_err_and(|e| e.to_string().contains(".svg")));
    assert!(shown.plot("/nowhere/at/all.svg").is_err_and(|e| e.kind() == ibex::ErrorKind::Io));
}

/// Start and end of lines, and boxes, of a drawing.
fn numbers(line: &str, attribute: &str) -> f64 {
    let (_, rest) = line.split_once(&format!(" {attribute}=\"")).expect("the attribute");
    rest.split('"').next().and_then(|n| n.parse().ok()).expect("a number")
}

#[test]
fn graph_of_a_model() -> ibex::Result<()> {
    let inner = Sequential::new([8]).named("inner<1>").add(Dense::new(8)).add(Dense::new(8));
    let shared = Dense::new(8).named("shared");
    let (a, b) = (Input::new([4]).named("a"), Input::new([4]));
    let (x, y) = (shared.apply(&a), shared.apply(&b));
    let deep = Dense::new(8).apply(inner.apply(&x));
    let sum = Add::new().named("sum").apply([&deep, &y, &x]);
    let model = Model::new([&a, &b], Dense::new(1).named("out").apply(&sum))?;
    let svg = model.to_svg()?;
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && !svg.contains("NaN"));
    let boxes: Vec<&str> = svg.lines().filter(|l| l.contains("rx=")).collect();
    // Two inputs, the shared layer twice, the model inside, three layers more.
    assert_eq!(boxes.len(), 8);
    assert_eq!(svg.matches(">shared<").count(), 2);
    for text in ["inner&lt;1&gt;", "Sequential", "(None, 4) → (None, 8)", "(None, 8), (None, 8), (None, 8) → (None, 8)"]
    {
        assert!(svg.contains(&format!(">{text}<")), "{text}");
    }
    // a, b, x -> inner -> dense -> sum -> out, and two ways around.
    assert_eq!(svg.matches("marker-end").count(), 2 + 1 + 1 + 3 + 1);
    // Nothing lies on anything else, or outside.
    let rects: Vec<[f64; 4]> = boxes.iter().map(|l| ["x", "y", "width", "height"].map(|a| numbers(l, a))).collect();
    let size = ["width", "height"].map(|a| numbers(&svg, a));
    for (i, [x, y, w, h]) in rects.iter().enumerate() {
        assert!(*x >= 0.0 && *y >= 0.0 && x + w <= size[0] && y + h <= size[1]);
        for [x2, y2, w2, h2] in &rects[..i] {
            assert!(x + w <= *x2 || x2 + w2 <= *x || y + h <= *y2 || y2 + h2 <= *y);
        }
    }
    // Lines that pass a row of boxes go straight down between them.
    for line in svg.lines().filter(|l| l.contains("fill=\"none\"") && !l.contains("marker-end")) {
        let path = line.split(" d=\"").nth(1).and_then(|d| d.split('"').next()).expect("a path");
        let (curve, down) = path.split_once('v').expect("a way through the row");
        let mut ends = curve.rsplit(' ').map(|n| n.parse::<f64>().expect("a number"));
        let (top, at) = (ends.next().expect("y"), ends.next().expect("x"));
        let bottom = top + down.parse::<f64>().expect("a number");
        assert!(rects.iter().all(|[x, y, w, h]| at < *x || at > x + w || y + h <= top || *y >= bottom), "{line}");
    }
    let path = std::env::temp_dir().join(format!("ibex-model-{}.svg", std::process::id()));
    model.plot(&path)?;
    assert_eq!(std::fs::read_to_string(&path).expect("read"), svg);
    std::fs::remove_file(&path).expect("removed");
    assert!(Sequential::new([4]).to_svg().is_err_and(|e| e.to_string().contains("no layers")));
    Ok(())
}
