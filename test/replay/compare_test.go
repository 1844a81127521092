package replay

import (
	"bytes"
	"encoding/binary"
	"strings"

	"github.com/dirigo-lb/dirigo/packet"
)

// frame is one emitted frame.
type frame struct {
	If    string
	Bytes []byte
}

// same reports whether what was sent is what the kernel sent, but for what it draws at
// random.
func same(want, got []frame, gue map[packet.Addr]bool) bool {
	if len(want) != len(got) {
		return false
	}
	for i := range want {
		if want[i].If != got[i].If || !bytes.Equal(mask(want[i].Bytes, gue), mask(got[i].Bytes, gue)) {
			return false
		}
	}
	return true
}

// mask clears what the kernel draws at random: the IP id of tunnel packets without DF
// and of packets the director makes itself (ICMP errors), the IPv6 flow label of those,
// IPv6 fragment ids, and the source port of GUE.
func mask(b []byte, gue map[packet.Addr]bool) []byte {
	f := packet.NewFrame(b)
	if f.Parse() != packet.None {
		return b
	}
	m := bytes.Clone(b)
	ip, l4 := m[14:], m[14+f.L4-f.L3:]
	isGUE := f.Flow.Proto == packet.UDP && gue[f.Flow.Dst]
	switch {
	case f.Flow.V6:
		if f.IsICMPError() {
			ip[1], ip[2], ip[3] = ip[1]&0xf0, 0, 0
		}
		if ip[6] == 44 { // fragment header
			clear(ip[44:48])
		}
	case ip[6]&0x40 == 0 && (ip[9] == packet.IPIP || ip[9] == packet.GRE || ip[9] == packet.IPv6 || isGUE),
		ip[9] == packet.ICMP && f.FragOff == 0 && ip[20] != 0 && ip[20] != 8:
		clear(ip[4:6])   // id
		clear(ip[10:12]) // the checksum over it
	}
	if isGUE && f.FragOff == 0 {
		clear(l4[0:2])
		clear(l4[6:8])
	}
	return m
}

// hosts reports whether what the recorded machine emitted came from its own stack: an
// answer of a local socket or a packet merely routed. A director leaves that to its host.
func hosts(want []frame, in []byte) bool {
	f := packet.NewFrame(in)
	if f.Parse() != packet.None {
		return false
	}
	for _, w := range want {
		o := packet.NewFrame(w.Bytes)
		if o.Parse() != packet.None {
			return false
		}
		back := o.Flow.Src == f.Flow.Dst && o.Flow.Dst == f.Flow.Src
		routed := o.TTL == f.TTL-1 && o.Flow.Src == f.Flow.Src && o.Flow.Dst == f.Flow.Dst
		switch {
		case routed && (o.Flow == f.Flow || f.Fragment() && o.Fragment()):
		case back && o.Flow.Proto == packet.TCP && o.TCPFlags&packet.RST != 0:
		case back && o.Flow.Proto == packet.SCTP && aborts(o):
		case (o.Flow.Proto == packet.ICMP || o.Flow.Proto == packet.ICMPv6) && o.Flow.Dst == f.Flow.Src:
		default:
			return false
		}
	}
	return true
}

func aborts(f *packet.Frame) bool {
	chunk, ok := f.SCTPFirst()
	return ok && chunk == packet.ChunkAbort
}

// refusal is what a host without a listener answers to a SYN: RST and ACK of the byte
// after it (RFC 9293 section 3.5.2), as its stack puts it into the port to the director.
func refusal(b []byte) []byte {
	f := packet.NewIPFrame(b)
	if f.Parse() != packet.None || f.Flow.Proto != packet.TCP || f.TCPFlags != packet.SYN {
		return nil
	}
	fl := f.Flow
	fl.Src, fl.Dst, fl.SrcPort, fl.DstPort = fl.Dst, fl.Src, fl.DstPort, fl.SrcPort
	s := packet.Spec{Flow: fl, TTL: 65, DF: true, TCPFlags: packet.RST | packet.ACK, Ack: binary.BigEndian.Uint32(f.Buf[f.L4+4:]) + 1}
	ip := s.IP()
	clear(ip[34:38]) // a RST's window is 0; the checksum is made anew
	binary.BigEndian.PutUint16(ip[36:], ^packet.Fold(packet.Sum(ip[20:], packet.PseudoSum(fl, packet.TCP, len(ip)-20))))
	return ip
}

// sameText compares listings. Rows of connections are compared in any order, without their
// times to the second (a recorded instant is some milliseconds from the kernel's timers) and
// without those whose time is over, which the kernel's coarse timers may show yet.
func sameText(cmd, want, got string) bool {
	if !strings.HasPrefix(cmd, "ipvsadm -Lnc") {
		return want == got
	}
	rows := func(text string) map[string]int {
		m := map[string]int{}
		for i, l := range strings.Split(text, "\n") {
			if i < 2 || len(l) < 9 {
				m[l]++
			} else if l[4:7] != "00:" { // less than a minute: may be over, or of another second
				m[l[:4]+l[9:]]++
			}
		}
		return m
	}
	w, g := rows(want), rows(got)
	for l := range g {
		if w[l] != g[l] {
			return false
		}
	}
	return len(w) == len(g)
}
