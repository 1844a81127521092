package ipvsadm

import "math"

// maxTimeout is the longest timeout accepted, in seconds: 31 days.
const maxTimeout = 31 * 24 * 3600

// strtol reads a decimal number as C's strtol does: leading white space and one sign
// are tolerated, rest is what follows the digits. ok is false without a digit, over says
// that the value was held at the end of the range.
func strtol(s string) (v int64, rest string, ok, over bool) {
	for s != "" && isSpace(s[0]) {
		s = s[1:]
	}
	negative := false
	if s != "" && (s[0] == '+' || s[0] == '-') {
		negative = s[0] == '-'
		s = s[1:]
	}
	for ; s != "" && s[0] >= '0' && s[0] <= '9'; s = s[1:] {
		ok = true
		d := int64(s[0] - '0')
		switch {
		case over:
		case !negative && v > (math.MaxInt64-d)/10:
			v, over = math.MaxInt64, true
		case negative && v < (math.MinInt64+d)/10:
			v, over = math.MinInt64, true
		case negative:
			v = v*10 - d
		default:
			v = v*10 + d
		}
	}
	return v, s, ok, over
}

// isSpace is C's isspace in the POSIX locale.
func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// number reads a word that is a number from least to most and nothing else.
func number(s string, least, most int64) (int, bool) {
	v, rest, ok, over := strtol(s)
	if !ok || over || rest != "" || v < least || v > most {
		return 0, false
	}
	return int(v), true
}

// timeout reads seconds, from least to 31 days.
func timeout(s string, least int64) (int, *Error) {
	v, ok := number(s, least, maxTimeout)
	if !ok {
		return 0, bad("invalid timeout value `%s' specified", s)
	}
	return v, nil
}

// fwmark reads a mark: decimal, not 0, 32 bits.
func fwmark(s string) (uint32, *Error) {
	v, ok := number(s, 1, math.MaxUint32)
	if !ok {
		return 0, bad("invalid fwmark value `%s' specified", s)
	}
	return uint32(v), nil
}

// allDigits reports whether s has nothing but digits; it is true for "".
func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
