// Classes, closures that capture nothing, arrays, maps, sets, strings and numbers, with a collector at work.

import { print } from "./stream";

abstract class Shape {
  constructor(public name: string) {}
  abstract area(): f64;
}

class Circle extends Shape {
  constructor(private radius: f64) { super("circle"); }
  area(): f64 { return Math.PI * this.radius ** 2; }
}

class Polygon extends Shape {
  constructor(private points: StaticArray<f64>) { super("polygon"); }
  area(): f64 {
    const p = this.points;
    let sum = 0.0;
    for (let i = 0; i < p.length; i += 2) {
      const j = (i + 2) % p.length;
      sum += p[i] * p[j + 1] - p[j] * p[i + 1];
    }
    return Math.abs(sum) / 2;
  }
}

function random(state: StaticArray<u64>): u64 {
  let x = state[0];
  x ^= x << 13;
  x ^= x >> 7;
  x ^= x << 17;
  state[0] = x;
  return x;
}

function maps(): void {
  const state: StaticArray<u64> = [88172645463325252];
  const counts = new Map<string, i32>();
  for (let i = 0; i < 3000; i++) {
    const key = (random(state) % 97).toString(36) + "é";
    counts.set(key, (counts.has(key) ? counts.get(key) : 0) + 1);
    if (i % 11 == 0) counts.delete(key);
  }
  const keys = counts.keys();
  keys.sort((a, b) => counts_order(a, b));
  let line = "";
  for (let i = 0; i < keys.length; i++) line += keys[i] + "=" + counts.get(keys[i]).toString() + " ";
  print(line.trimEnd());
  const seen = new Set<u64>();
  let turns = 0;
  while (!seen.has(state[0] % 5000)) {
    seen.add(state[0] % 5000);
    random(state);
    turns++;
  }
  print(turns.toString() + " " + seen.size.toString());
}

function counts_order(a: string, b: string): i32 {
  return a.length != b.length ? a.length - b.length : a < b ? -1 : a > b ? 1 : 0;
}

function numbers(): void {
  const values: f64[] = [0, -0.0, 0.1, 1e21, 1e-7, 5e-324, 1.7976931348623157e308, Infinity, NaN, 123456.789];
  for (let i = 0; i < values.length; i++) {
    const x = values[i];
    print(x.toString() + " " + Math.sqrt(x).toString() + " " + Math.round(x).toString() + " "
      + Math.sin(x).toString() + " " + Math.exp(-x).toString() + " " + Math.log(x).toString());
  }
  print(parseFloat("  3.25e2xyz").toString() + " " + parseInt("-0x1f").toString() + " " + F64.parseFloat(".5").toString());
  print((i64.MIN_VALUE).toString() + " " + (u64.MAX_VALUE).toString(16) + " " + (<i8>200).toString());
  print(Math.pow(2, 0.5).toString() + " " + Math.atan2(-1, -2).toString() + " " + Math.hypot(3, 4).toString());
}

function strings(): void {
  const text = "Ein Ω, zwei 🜛 und mehr";
  print(text.length.toString() + " " + text.split(" ").reverse().join("|") + " " + text.codePointAt(12).toString(16));
  print(text.toUpperCase() + text.padStart(30, "*").slice(0, 9) + text.replaceAll("e", "E") + text.indexOf("zwei").toString());
}

class Node {
  next: Node | null = null;
  constructor(public value: i32) {}
}

function garbage(): void {
  let sum = 0;
  for (let round = 0; round < 200; round++) {
    let list: Node | null = null;
    for (let i = 0; i < 300; i++) {
      const node = new Node(i ^ round);
      node.next = list;
      list = node;
    }
    while (list !== null) {
      sum += list.value;
      list = list.next;
    }
  }
  print(sum.toString() + " " + memory.size().toString());
}

const shapes: Shape[] = [new Circle(1.5), new Polygon([0, 0, 4, 0, 4, 3]), new Circle(0.1)];
shapes.sort((a, b) => (a.area() > b.area() ? 1 : a.area() < b.area() ? -1 : 0));
for (let i = 0; i < shapes.length; i++) print(shapes[i].name + " " + shapes[i].area().toString());
maps();
numbers();
strings();
garbage();
print(shapes[3].name); // is not there
