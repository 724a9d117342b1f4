// Counts the words of standard input, the most frequent first, and the mean of their lengths in 32 bits.
#include <algorithm>
#include <iostream>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

int main() {
    std::unordered_map<std::string, int> counts;
    float length = 0, total = 0;
    for (std::string word; std::cin >> word; total += 1) {
        ++counts[word];
        length += static_cast<float>(word.size());
    }
    std::vector<std::pair<std::string, int>> words(counts.begin(), counts.end());
    std::sort(words.begin(), words.end(), [](const auto &a, const auto &b) {
        return a.second != b.second ? a.second > b.second : a.first < b.first;
    });
    for (const auto &[word, count] : words) std::cout << count << ' ' << word << '\n';
    std::cout << static_cast<int>(length / total * 1000) << '\n';
}
