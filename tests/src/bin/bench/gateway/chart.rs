//! The chart: processor time a request, as bars that can be compared.

use std::fmt::Write as _;

use super::measured::Measured;

const ROW: usize = 26;
const LABELS: usize = 400;
const BARS: usize = 420;
const ENVOY: &str = "#3b6ea8";
const BESIDE: &str = "#c9a24b";

/// The bars of all contenders, as an SVG.
pub(super) fn draw(measured: &[Measured]) -> String {
    let most = measured
        .iter()
        .map(|one| one.full.envoy + one.full.beside)
        .fold(1.0, f64::max);
    let width = |micros: f64| micros / most * BARS as f64;
    let height = ROW * measured.len() + 56;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <rect x=\"10\" y=\"14\" width=\"12\" height=\"12\" fill=\"{ENVOY}\"/>\
         <text x=\"28\" y=\"25\">Envoy</text>\
         <rect x=\"90\" y=\"14\" width=\"12\" height=\"12\" fill=\"{BESIDE}\"/>\
         <text x=\"108\" y=\"25\">beside it (STS with evidence, authoriser); processor time in µs a request</text>\n",
        LABELS + BARS + 80
    );
    for (place, one) in measured.iter().enumerate() {
        let top = 40 + ROW * place;
        let (envoy, beside) = (width(one.full.envoy), width(one.full.beside));
        let start = LABELS as f64;
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{LABELS}\" y=\"{top}\" width=\"{envoy:.1}\" height=\"18\" fill=\"{ENVOY}\"/>\
             <rect x=\"{:.1}\" y=\"{top}\" width=\"{beside:.1}\" height=\"18\" fill=\"{BESIDE}\"/>\
             <text x=\"{:.1}\" y=\"{}\">{:.0}</text>",
            LABELS - 8,
            top + 14,
            one.name,
            start + envoy,
            start + envoy + beside + 6.0,
            top + 14,
            one.full.envoy + one.full.beside
        );
    }
    svg.push_str("</svg>\n");
    svg
}
