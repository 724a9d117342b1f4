// Counts the words of standard input, the most frequent first, and the mean of their lengths in 32 bits.
package main

import (
	"bufio"
	"fmt"
	"os"
	"sort"
)

func main() {
	counts := map[string]int{}
	scanner := bufio.NewScanner(os.Stdin)
	scanner.Split(bufio.ScanWords)
	length := float32(0)
	total := float32(0)
	for scanner.Scan() {
		counts[scanner.Text()]++
		length += float32(len(scanner.Bytes()))
		total++
	}
	words := make([]string, 0, len(counts))
	for word := range counts {
		words = append(words, word)
	}
	sort.Slice(words, func(i, j int) bool {
		if counts[words[i]] != counts[words[j]] {
			return counts[words[i]] > counts[words[j]]
		}
		return words[i] < words[j]
	})
	for _, word := range words {
		fmt.Printf("%d %s\n", counts[word], word)
	}
	fmt.Printf("%d\n", int(length/total*1000))
}
