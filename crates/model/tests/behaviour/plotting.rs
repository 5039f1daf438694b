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
    assert_eq!(svg.matches("bold").count(), 2, "a panel for the loss and one for the metric");
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
    assert!(shown.plot(path.with_extension("pdf")).is_err_and(|e| e.to_string().contains(".svg or .png")));
    assert!(shown.plot("/nowhere/at/all.svg").is_err_and(|e| e.kind() == ibex::ErrorKind::Io));
}

/// A picture's numbers, and its width.
fn picture(write: impl Fn(&std::path::Path) -> ibex::Result<()>, name: &str) -> (Vec<f32>, usize) {
    let path = std::env::temp_dir().join(format!("ibex-{name}-{}.png", std::process::id()));
    write(&path).expect("written");
    let image = ibex::data::load_image(&path, ibex::data::Color::Rgb, None).expect("a PNG file");
    std::fs::remove_file(&path).expect("removed");
    (ibex::device("cpu").and_then(|d| d.to_vec(&image)).expect("numbers"), image.dim(1))
}

/// The same marks stand in both kinds of files.
#[test]
fn pictures_as_png() -> ibex::Result<()> {
    let history = BTreeMap::from([
        ("loss".to_string(), vec![2.0, 1.0, f64::NAN, 0.5]),
        ("val_loss".to_string(), vec![2.1, 1.3, 1.2, 1.1]),
        ("accuracy".to_string(), vec![0.2, 0.4, 0.6, 0.8]),
    ]);
    let shown = History { history, epoch: vec![0, 1, 2, 3], epochs: 4, steps: 1 };
    let (pixels, width) = picture(|path| shown.plot(path), "curves");
    assert_eq!((width, pixels.len()), (2 * 920, 3 * 2 * 920 * 2 * 320));
    // Values in 0 to 255 whatever the loader's scale is.
    let most = pixels.iter().copied().fold(0.0, f32::max);
    let at = |x: f64, y: f64| {
        let start = 3 * ((2.0 * y) as usize * width + (2.0 * x) as usize);
        pixels[start..start + 3].iter().map(|v| (v / most * 255.0).round() as u8).collect::<Vec<u8>>()
    };
    let svg = shown.to_svg();
    let dots: Vec<&str> = svg.lines().filter(|l| l.starts_with("<circle")).collect();
    assert_eq!(dots.len(), 3 + 4 + 4);
    for dot in dots {
        let (x, y) = (numbers(dot, "cx"), numbers(dot, "cy"));
        let color = if dot.contains("#1f77b4") { vec![0x1f, 0x77, 0xb4] } else { vec![0xe6, 0x55, 0x0d] };
        assert_eq!(at(x, y), color, "{dot}");
    }
    // Nothing in the corners; a title, whose letters cover a part of its place.
    assert!([(0.0, 0.0), (919.0, 0.0), (0.0, 319.0), (919.0, 319.0)].iter().all(|&(x, y)| at(x, y) == [255; 3]));
    let title = (60..90).flat_map(|x| (11..23).map(move |y| (f64::from(x), f64::from(y))));
    let dark = title.filter(|&(x, y)| at(x, y)[0] < 128).count();
    assert!((60..240).contains(&dark), "{dark} of 360 pixels of the title");

    let i = Input::new([4]);
    let model = Model::new(&i, Add::new().apply([&Dense::new(8).apply(&i), &Dense::new(8).apply(&i)]))?;
    let (pixels, width) = picture(|path| model.plot(path), "graph");
    let svg = model.to_svg()?;
    assert!((width as f64 - 2.0 * numbers(&svg, "width")).abs() <= 1.0);
    for line in svg.lines().filter(|l| l.contains("rx=")) {
        let [x, y] = ["x", "y"].map(|a| numbers(line, a) + 5.0);
        let start = 3 * ((2.0 * y) as usize * width + (2.0 * x) as usize);
        assert!(pixels[start + 2] / most < 1.0 && pixels[start] / most > 0.8, "a box's color at {x} {y}");
    }
    Ok(())
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
    assert_eq!(svg.matches("z\"/>").count(), 2 + 1 + 1 + 3 + 1);
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
    let lines = svg.lines().filter(|l| l.contains("fill=\"none\""));
    let paths = lines.map(|l| l.split(" d=\"").nth(1).and_then(|d| d.split('"').next()).expect("a path"));
    let through: Vec<_> = paths.filter_map(|path| path.split_once('L')).collect();
    assert_eq!(through.len(), 2 + 2, "x and y each go by two rows");
    for (curve, down) in through {
        let mut ends = curve.rsplit(' ').map(|n| n.parse::<f64>().expect("a number"));
        let (top, at) = (ends.next().expect("y"), ends.next().expect("x"));
        let bottom: f64 = down.rsplit(' ').next().and_then(|n| n.parse().ok()).expect("a number");
        assert!(rects.iter().all(|[x, y, w, h]| at < *x || at > x + w || y + h <= top || *y >= bottom), "{curve}");
    }
    let path = std::env::temp_dir().join(format!("ibex-model-{}.svg", std::process::id()));
    model.plot(&path)?;
    assert_eq!(std::fs::read_to_string(&path).expect("read"), svg);
    std::fs::remove_file(&path).expect("removed");
    assert!(Sequential::new([4]).to_svg().is_err_and(|e| e.to_string().contains("no layers")));
    Ok(())
}
