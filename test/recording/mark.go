package recording

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/packet"
)

// ParseMark reads a MARK rule in iptables' words, as far as the recordings use them.
func ParseMark(line string) (m conf.Mark, err error) {
	m.Mask = ^uint32(0)
	words := strings.Fields(line)
	for i := 0; i < len(words); i++ {
		arg := func() string {
			i++
			if i == len(words) {
				return ""
			}
			return words[i]
		}
		prefix := func(s string) []netip.Prefix {
			p, perr := netip.ParsePrefix(s)
			if perr != nil {
				var a netip.Addr
				a, err = netip.ParseAddr(s)
				p = netip.PrefixFrom(a, a.BitLen())
			}
			return []netip.Prefix{p.Masked()}
		}
		portList := func(s string) (rs []conf.PortRange) {
			for one := range strings.SplitSeq(s, ",") {
				first, last, ranged := strings.Cut(one, ":")
				if !ranged {
					last = first
				}
				a, e1 := strconv.ParseUint(first, 10, 16)
				b, e2 := strconv.ParseUint(last, 10, 16)
				err = errors.Join(err, e1, e2)
				rs = append(rs, conf.PortRange{First: uint16(a), Last: uint16(b)})
			}
			return rs
		}
		switch w := words[i]; w {
		case "-t", "-A", "-m":
			arg()
		case "-j":
			if t := arg(); t != "MARK" {
				return m, fmt.Errorf("iptables %q: target %s is not replayed", line, t)
			}
		case "-d":
			m.Dest = prefix(arg())
		case "-s":
			m.Source = prefix(arg())
		case "-p":
			m.Proto = map[string]uint8{"tcp": packet.TCP, "udp": packet.UDP, "sctp": packet.SCTP}[arg()]
		case "--dport", "--dports":
			m.DestPorts = portList(arg())
		case "--sport", "--sports":
			m.SourcePorts = portList(arg())
		case "--set-mark":
			v, perr := strconv.ParseUint(arg(), 0, 32)
			m.Value, err = uint32(v), errors.Join(err, perr)
		default:
			return m, fmt.Errorf("iptables %q: %s is not replayed", line, w)
		}
		if err != nil {
			return m, fmt.Errorf("iptables %q: %w", line, err)
		}
	}
	return m, nil
}
