package conf

import (
	"fmt"
	"net/netip"
	"strconv"
)

// MarkWords are the parts of a mark rule as the file spells them, "" and nil for what is
// not written.
type MarkWords struct {
	Family, Proto, Value   string
	Source, Dest           []string
	SourcePorts, DestPorts []string
}

// Words spells the rule.
func (m *Mark) Words() (w MarkWords) {
	if !m.AnyFamily {
		w.Family = families.word(m.V6)
	}
	if w.Proto = markProtocols.word(m.Proto); w.Proto == "" && m.Proto != 0 {
		w.Proto = strconv.Itoa(int(m.Proto))
	}
	w.Source, w.Dest = texts(m.Source, netText), texts(m.Dest, netText)
	w.SourcePorts, w.DestPorts = texts(m.SourcePorts, PortRange.String), texts(m.DestPorts, PortRange.String)
	w.Value = strconv.FormatUint(uint64(m.Value), 10)
	if mask := m.Mask | m.Value; mask != wholeMark {
		w.Value = fmt.Sprintf("%#x/%#x", m.Value, mask)
	}
	return w
}

// String is "80" or "8000-8100".
func (r PortRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

func texts[T netip.Prefix | PortRange](list []T, text func(T) string) (all []string) {
	for _, x := range list {
		all = append(all, text(x))
	}
	return all
}

// DriverName is the word of a driver in the file.
func DriverName(d Driver) string { return drivers.word(d) }
