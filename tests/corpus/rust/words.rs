//! Counts the words of standard input in maps of both kinds, sorts, formats and parses numbers, and tells the time.

use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet, VecDeque};
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

fn numbers(out: &mut String) {
    for text in ["0.1", "-0", "1e23", "5e-324", "1.7976931348623157e308", "1.5", "nan", "-inf", "1e400"] {
        let double: f64 = text.parse().unwrap();
        writeln!(out, "{text}: {double} {double:e} {double:.3} {double:?}").unwrap();
        writeln!(out, "  {} {} {}", double as i32, double as u64, double as i8).unwrap();
    }
    for x in [2.0f64, 0.5, -1.5, 1e10] {
        writeln!(out, "{} {} {} {} {}", x.sqrt(), x.sin(), x.exp(), x.powi(7), x.mul_add(3.0, 0.1)).unwrap();
        writeln!(out, "{} {} {} {}", x.round(), x.trunc(), x.fract(), x.rem_euclid(0.7)).unwrap();
    }
    let total = (1..=30u128).fold(1u128, |product, n| product.wrapping_mul(n * n + 1));
    writeln!(out, "{total} {} {:?}", total / 1_000_000_007, total.checked_mul(total)).unwrap();
    writeln!(out, "{:?} {:?} {}", 200u8.checked_add(100), i64::MIN.checked_div(-1), (-7i32).rem_euclid(3)).unwrap();
    writeln!(out, "{:#010x} {:+} {:>8} {:<8}| {:^8} {:08.3}", 48879, 5, "right", "left", "mid", -3.14159).unwrap();
}

fn main() -> io::Result<()> {
    let started = Instant::now();
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let mut out = String::new();

    let mut counts: HashMap<&str, usize> = HashMap::new();
    for word in text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()) {
        *counts.entry(word).or_default() += 1;
    }
    // The order of a HashMap depends on its random keys: the seed decides it.
    let order: Vec<_> = counts.keys().take(12).collect();
    writeln!(out, "{order:?}").unwrap();
    let sorted: BTreeMap<_, _> = counts.iter().collect();
    for (word, count) in &sorted {
        writeln!(out, "{count:>5} {word} {}", word.chars().rev().collect::<String>().to_uppercase()).unwrap();
    }
    let letters: HashSet<char> = text.chars().filter(|c| !c.is_ascii()).collect();
    let mut letters: Vec<_> = letters.into_iter().collect();
    letters.sort_unstable();
    writeln!(out, "{letters:?} {}", text.len() - text.chars().count()).unwrap();

    let mut heap: BinaryHeap<_> = sorted.iter().map(|(word, count)| (**count, word.len(), **word)).collect();
    let mut queue = VecDeque::new();
    while let Some(item) = heap.pop() {
        if item.1 % 2 == 0 { queue.push_back(item) } else { queue.push_front(item) }
    }
    writeln!(out, "{:?}", queue.iter().take(5).collect::<Vec<_>>()).unwrap();

    numbers(&mut out);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    writeln!(out, "{since:?} {:?} {:?}", started.elapsed(), Duration::from_nanos(u64::MAX)).unwrap();
    let environment: Vec<_> = std::env::vars().collect();
    writeln!(out, "{:?} {environment:?}", std::env::args().collect::<Vec<_>>()).unwrap();
    io::stdout().write_all(out.as_bytes())
}
