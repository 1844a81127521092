package sched

import (
	"fmt"
	"strings"
)

// flagNames returns what ipvsadm calls Flag1, Flag2 and Flag3 of a scheduler in its
// listings. sh and mh have no third one of their own.
func flagNames(scheduler string) [3]string {
	switch scheduler {
	case "sh":
		return [3]string{"sh-fallback", "sh-port", "flag-3"}
	case "mh":
		return [3]string{"mh-fallback", "mh-port", "flag-3"}
	}
	return [3]string{"flag-1", "flag-2", "flag-3"}
}

// ParseFlags reads ipvsadm's --sched-flags: names with commas between them. flag-1,
// flag-2 and flag-3 are good for every scheduler, sh-fallback and sh-port for sh only,
// mh-fallback and mh-port for mh only. The empty text is no flags; an unknown name,
// also an empty one beside a comma, is an error that says which are known.
func ParseFlags(scheduler, text string) (f Flags, err error) {
	if text == "" {
		return 0, nil
	}
	own, plain := flagNames(scheduler), flagNames("")
next:
	for name := range strings.SplitSeq(text, ",") {
		for i := range own {
			if name == own[i] || name == plain[i] {
				f |= Flag1 << i
				continue next
			}
		}
		known := plain[:]
		if own != plain {
			known = append(own[:2:2], known...)
		}
		return 0, fmt.Errorf("scheduler %s: unknown flag %q (known: %s)", scheduler, name, strings.Join(known, " "))
	}
	return f, nil
}

// FlagNames writes f as ipvsadm lists it for a scheduler: "sh-fallback,sh-port"; empty
// for no flags. ParseFlags reads it back.
func FlagNames(scheduler string, f Flags) string {
	var set []string
	for i, name := range flagNames(scheduler) {
		if f&(Flag1<<i) != 0 {
			set = append(set, name)
		}
	}
	return strings.Join(set, ",")
}
