// Counts the words of standard input, the most frequent first, and the mean of their lengths in 32 bits.
const std = @import("std");
const wasi = std.os.wasi;

const Word = struct { text: []const u8, count: u32 };

fn before(_: void, a: Word, b: Word) bool {
    if (a.count != b.count) return a.count > b.count;
    return std.mem.lessThan(u8, a.text, b.text);
}

fn print(comptime format: []const u8, arguments: anytype) !void {
    var buffer: [4096]u8 = undefined;
    const line = try std.fmt.bufPrint(&buffer, format, arguments);
    var vector = [1]wasi.ciovec_t{.{ .base = line.ptr, .len = line.len }};
    var written: usize = 0;
    if (wasi.fd_write(1, &vector, 1, &written) != .SUCCESS) return error.Write;
}

pub fn main() !void {
    const allocator = std.heap.page_allocator;
    const text = try allocator.alloc(u8, 1 << 20);
    var length: usize = 0;
    while (true) {
        var vector = [1]wasi.iovec_t{.{ .base = text.ptr + length, .len = text.len - length }};
        var read: usize = 0;
        if (wasi.fd_read(0, &vector, 1, &read) != .SUCCESS) return error.Read;
        if (read == 0) break;
        length += read;
    }
    var counts = std.StringHashMap(u32).init(allocator);
    var letters: f32 = 0;
    var total: f32 = 0;
    var words = std.mem.tokenizeAny(u8, text[0..length], " \n");
    while (words.next()) |word| {
        const entry = try counts.getOrPutValue(word, 0);
        entry.value_ptr.* += 1;
        letters += @floatFromInt(word.len);
        total += 1;
    }
    const found = try allocator.alloc(Word, counts.count());
    var entries = counts.iterator();
    for (found) |*word| {
        const entry = entries.next().?;
        word.* = .{ .text = entry.key_ptr.*, .count = entry.value_ptr.* };
    }
    std.mem.sort(Word, found, {}, before);
    for (found) |word| try print("{d} {s}\n", .{ word.count, word.text });
    try print("{d}\n", .{@as(i32, @trunc(letters / total * 1000))});
}
