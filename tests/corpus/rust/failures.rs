//! Fails in the way that the first argument names.

use std::collections::HashMap;

#[inline(never)]
fn deep(depth: u64, kept: [u64; 8]) -> u64 {
    let mut next = kept;
    next[(depth % 8) as usize] ^= depth.rotate_left(7);
    if unsafe { std::ptr::read_volatile(&depth) } == u64::MAX { depth } else { deep(depth + 1, next) ^ next[3] }
}

fn main() {
    let way = std::env::args().nth(1).unwrap_or_default();
    let number: i32 = std::env::args().nth(2).and_then(|text| text.parse().ok()).unwrap_or(0);
    println!("about to {way}");
    match way.as_str() {
        "index" => println!("{}", [1, 2, 3][number as usize + 3]),
        "unwrap" => println!("{}", HashMap::from([(1, 2)]).get(&number).unwrap()),
        "divide" => println!("{}", 1 / number),
        "overflow" => println!("{}", i32::MIN.abs_diff(0).checked_add(u32::MAX - number as u32).expect("too much")),
        "borrow" => {
            let cell = std::cell::RefCell::new(1);
            let _first = cell.borrow_mut();
            println!("{}", cell.borrow());
        }
        "exit" => std::process::exit(number),
        "abort" => std::process::abort(),
        "recurse" => println!("{}", deep(0, [number as u64; 8])),
        "allocate" => {
            let mut blocks = Vec::new();
            loop {
                blocks.push(vec![number as u8; 3 << 20]);
                println!("{} MiB", blocks.len() * 3);
            }
        }
        "read" => println!("{:?}", std::fs::read("/etc/passwd").map_err(|error| error.kind())),
        "thread" => println!("{:?}", std::thread::Builder::new().spawn(|| ()).map(|_| ()).map_err(|e| e.kind())),
        "sleep" => std::thread::sleep(std::time::Duration::from_secs(3600)),
        _ => panic!("do not know how to {way:?}"),
    }
}
