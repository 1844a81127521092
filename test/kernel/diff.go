package kernel

import (
	"fmt"
	"strings"
)

// diff is diff(1) of two inputs in its normal form, or with -q in one line.
func diff(sh *shell, args []string, std stdio) (int, error) {
	letters, names := options(args)
	if err := known(letters, "q"); err != nil || len(names) != 2 {
		return 2, fmt.Errorf("%v is not replayed", args)
	}
	in, rc := sh.inputs("diff", names, std)
	if rc != 0 {
		return 2, nil
	}
	a, b := lines(in[:1]), lines(in[1:])
	text := normalDiff(a, b)
	switch {
	case text == "":
		return 0, nil
	case letters != "":
		text = fmt.Sprintf("Files %s and %s differ\n", names[0], names[1])
	}
	_, err := std.out.Write([]byte(text))
	return 1, err
}

// normalDiff gives the changes between two texts by their longest common subsequence.
func normalDiff(a, b []string) string {
	common := make([][]int, len(a)+1) // of a[i:] and b[j:]
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var text strings.Builder
	for i, j := 0, 0; i < len(a) || j < len(b); {
		if i < len(a) && j < len(b) && a[i] == b[j] {
			i, j = i+1, j+1
			continue
		}
		i0, j0 := i, j
		for (i < len(a) || j < len(b)) && !(i < len(a) && j < len(b) && a[i] == b[j]) {
			if j == len(b) || i < len(a) && common[i+1][j] >= common[i][j+1] {
				i++
			} else {
				j++
			}
		}
		hunk(&text, a, b, i0, i, j0, j)
	}
	return text.String()
}

// hunk writes one change: lines i0 to i of a became lines j0 to j of b.
func hunk(text *strings.Builder, a, b []string, i0, i, j0, j int) {
	span := func(from, to int) string {
		switch to - from {
		case 0:
			return fmt.Sprint(from)
		case 1:
			return fmt.Sprint(from + 1)
		}
		return fmt.Sprintf("%d,%d", from+1, to)
	}
	verb := "c"
	if i == i0 {
		verb = "a"
	} else if j == j0 {
		verb = "d"
	}
	fmt.Fprintf(text, "%s%s%s\n", span(i0, i), verb, span(j0, j))
	for _, l := range a[i0:i] {
		fmt.Fprintf(text, "< %s\n", l)
	}
	if verb == "c" {
		fmt.Fprintln(text, "---")
	}
	for _, l := range b[j0:j] {
		fmt.Fprintf(text, "> %s\n", l)
	}
}
