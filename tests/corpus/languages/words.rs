// Counts the words of standard input, the most frequent first, and the mean of their lengths in 32 bits.
use std::collections::HashMap;
use std::io::{self, Read};

fn main() {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).unwrap();
    let mut counts: HashMap<&str, u32> = HashMap::new();
    let (mut length, mut total) = (0f32, 0f32);
    for word in text.split_ascii_whitespace() {
        *counts.entry(word).or_default() += 1;
        length += word.len() as f32;
        total += 1.0;
    }
    let mut words: Vec<_> = counts.into_iter().collect();
    words.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    for (word, count) in words {
        println!("{count} {word}");
    }
    println!("{}", (length / total * 1000.0) as i32);
}
