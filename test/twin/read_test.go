package twin

import (
	"encoding/binary"
	"net/netip"
)

// reading says how far the reader got with a frame.
type reading int

const (
	whole     reading = iota // an IP packet that the forwarder judges
	notIP                    // another ethertype
	malformed                // nobody can do anything with it
	fragment                 // a piece of one
	later                    // neighbour discovery, ARP: no matter of this twin
)

// read takes a frame apart, step by step in the order of RFC 1812 section 5.2.2, and
// RFC 8200 section 4 for the extension headers.
func read(b []byte) (p ip, r reading, why string) {
	if len(b) < etherLen {
		return p, malformed, "no Ethernet header"
	}
	kind, b := binary.BigEndian.Uint16(b[12:]), b[etherLen:]
	switch kind {
	case 0x0800:
		r, why = p.read4(b)
	case 0x86dd:
		r, why = p.read6(b)
	case 0x0806:
		return p, later, "ARP"
	default:
		return p, notIP, "another ethertype"
	}
	if r != whole {
		return p, r, why
	}
	p.wire = b[:p.length()]
	r, why = p.judge()
	return p, r, why
}

// judge looks at the transport header of a whole packet.
func (p *ip) judge() (reading, string) {
	least := map[uint8]int{protoTCP: 20, protoUDP: 8, protoSCTP: sctpHeader, protoICMP: 8, protoICMPv6: 8}[p.proto]
	switch {
	case len(p.l4) < least:
		return malformed, "the transport header is cut off"
	case p.proto == protoTCP && (p.l4[12]>>4 < 5 || int(p.l4[12]>>4)*4 > len(p.l4)):
		return malformed, "TCP data offset"
	case p.proto == protoICMPv6 && p.v6 && (p.l4[0] == 135 || p.l4[0] == 136):
		return later, "neighbour discovery"
	}
	return whole, ""
}

func (p *ip) read4(b []byte) (reading, string) {
	if len(b) < 20 {
		return malformed, "no IPv4 header"
	}
	head, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	switch {
	case b[0]>>4 != 4:
		return malformed, "version"
	case head < 20 || head > len(b):
		return malformed, "header length"
	case sum16(b[:head]) != 0xffff:
		return malformed, "IPv4 header checksum"
	case total < head || total > len(b):
		return malformed, "total length"
	}
	field := binary.BigEndian.Uint16(b[6:])
	src, _ := netip.AddrFromSlice(b[12:16])
	dst, _ := netip.AddrFromSlice(b[16:20])
	*p = ip{src: src, dst: dst, tos: b[1], ttl: b[8], proto: b[9], id: binary.BigEndian.Uint16(b[4:]),
		flags: uint8(field >> 13), options: b[20:head], l4: b[head:total]}
	if field&0x3fff != 0 {
		p.offset, p.more = field&0x1fff, field&0x2000 != 0
		return fragment, ""
	}
	return whole, ""
}

func (p *ip) read6(b []byte) (reading, string) {
	if len(b) < 40 {
		return malformed, "no IPv6 header"
	}
	first, size := binary.BigEndian.Uint32(b), int(binary.BigEndian.Uint16(b[4:]))
	switch {
	case first>>28 != 6:
		return malformed, "version"
	case 40+size > len(b):
		return malformed, "payload length"
	}
	src, _ := netip.AddrFromSlice(b[8:24])
	dst, _ := netip.AddrFromSlice(b[24:40])
	*p = ip{v6: true, src: src, dst: dst, tos: uint8(first >> 20), label: first & 0xfffff, next: b[6], ttl: b[7], proto: b[6]}
	rest := b[40 : 40+size]
	for p.l4 = rest; ; {
		switch p.proto {
		case 0, 43, 60: // hop-by-hop options, routing, destination options
			if len(p.l4) < 8 || len(p.l4) < 8+8*int(p.l4[1]) {
				return malformed, "extension header"
			}
			p.proto, p.l4 = p.l4[0], p.l4[8+8*int(p.l4[1]):]
			p.ext = rest[:len(rest)-len(p.l4)]
			continue
		case protoFrag:
			if len(p.l4) < 8 {
				return malformed, "fragment header"
			}
			field := binary.BigEndian.Uint16(p.l4[2:])
			p.proto, p.offset, p.more, p.fragID = p.l4[0], field>>3, field&1 != 0, binary.BigEndian.Uint32(p.l4[4:])
			p.l4 = p.l4[8:]
			if p.offset == 0 && !p.more { // all of a packet: RFC 6946 section 4
				p.ext = rest[:len(rest)-len(p.l4)]
				continue
			}
			return fragment, ""
		}
		return whole, ""
	}
}

// sum16 is the one's complement sum of b, word by word: RFC 1071 section 4.1.
func sum16(b []byte) uint16 {
	sum := 0
	for i := 0; i < len(b); i += 2 {
		sum += int(b[i]) << 8
		if i+1 < len(b) {
			sum += int(b[i+1])
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
