package dataplane

// Verdicts are those that a frame can end with for reason r. What the host gets is taken
// for a VIP that only the director has, which then answers as its host would.
func (r Reason) Verdicts() []Verdict {
	switch {
	case r <= Resolving:
		return []Verdict{Send}
	case r <= Neighbor:
		return []Verdict{Taken}
	case r == NotIP, r == NotForUs, r == ICMPError:
		return []Verdict{Pass}
	case r <= ReplyUntouched:
		return []Verdict{Pass, Taken}
	}
	return []Verdict{Drop}
}
