package ipvsadm

import "github.com/dirigo-lb/dirigo/conf"

// schedFlag is a scheduler flag by one of its names.
type schedFlag struct {
	name      string
	scheduler string // "" for any
	bit       uint8
}

// schedFlagNames are the names -b takes.
var schedFlagNames = []schedFlag{
	{"sh-fallback", "sh", conf.SchedFlag1},
	{"sh-port", "sh", conf.SchedFlag2},
	{"mh-fallback", "mh", conf.SchedFlag1},
	{"mh-port", "mh", conf.SchedFlag2},
	{"flag-1", "", conf.SchedFlag1},
	{"flag-2", "", conf.SchedFlag2},
	{"flag-3", "", conf.SchedFlag3},
}

func findSchedFlag(name string) (schedFlag, bool) {
	for _, f := range schedFlagNames {
		if f.name == name {
			return f, true
		}
	}
	return schedFlag{}, false
}

// appendSchedFlags appends the names of the flags that are set, with commas. sh and mh
// have names of their own for two flags, and their third is never shown.
func appendSchedFlags(b []byte, scheduler string, flags uint8) []byte {
	own := ""
	if scheduler == "sh" || scheduler == "mh" {
		own = scheduler
	}
	start := len(b)
	for _, f := range schedFlagNames {
		if f.scheduler != own || flags&f.bit == 0 {
			continue
		}
		if len(b) > start {
			b = append(b, ',')
		}
		b = append(b, f.name...)
	}
	return b
}
