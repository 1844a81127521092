package health

// dynamicWeight is keepalived's arithmetic of MISC_CHECK: each check that asks for a
// weight contributes its distance from the file's, and the sum counts from the file's,
// at least 0. With one such check that is the weight it asks for.
func dynamicWeight(file int, asked []int) int {
	w := file
	for _, a := range asked {
		w += a - file
	}
	return max(0, w)
}
