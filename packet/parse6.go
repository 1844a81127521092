package packet

import "encoding/binary"

// IPv6 next header values of the extension headers that are walked to find the
// transport header: RFC 8200 section 4. An authentication header is not among them:
// IPVS treats AH as a protocol of its own.
const (
	extHopByHop    = 0
	extRouting     = 43
	extFragment    = 44
	extDestOptions = 60
)

// maxExtHeaders bounds the walk. RFC 8200 section 4.1 lets a packet have five of ours
// (destination options may occur twice); a longer chain only costs time.
const maxExtHeaders = 8

// parse6 parses ip, which runs from the IPv6 header to the end of the frame.
func (f *Frame) parse6(ip []byte) Bad {
	if len(ip) < ipv6Len {
		return Short
	}
	if ip[0]>>4 != 6 {
		return BadVersion
	}
	total := ipv6Len + uint32(binary.BigEndian.Uint16(ip[4:]))
	if total == ipv6Len && f.Vnet.GSOType != VnetGSONone {
		total = uint32(len(ip))
	}
	if total > uint32(len(ip)) {
		return BadLength
	}
	f.IPEnd = f.L3 + total
	f.TTL = ip[7]
	f.DF = true // routers never fragment: RFC 8200 section 5
	f.MoreFrag = false
	f.FragOff = 0
	f.Flow.V6 = true
	f.Flow.Src = Addr(ip[8:24])
	f.Flow.Dst = Addr(ip[24:40])

	next, at := ip[6], uint32(ipv6Len)
	if next != TCP && next != UDP {
		var bad Bad
		if next, at, bad = f.skipExtensions(ip[:total], next); bad != None {
			return bad
		}
	}
	f.L4 = f.L3 + at
	return f.parseTransport(ip[at:total], next)
}

// skipExtensions walks the extension headers of the IPv6 packet ip, the first of which
// is a next, and returns the transport protocol and its offset. It stops behind the
// fragment header of a later fragment: what follows is the middle of something.
func (f *Frame) skipExtensions(ip []byte, next uint8) (proto uint8, at uint32, bad Bad) {
	at = ipv6Len
	for range maxExtHeaders {
		switch next {
		case extHopByHop, extRouting, extDestOptions, extFragment:
		default:
			return next, at, None
		}
		rest := ip[at:]
		if len(rest) < fragHdrLen { // also the least length of the others
			return 0, 0, BadHeaderLen
		}
		size := uint32(fragHdrLen)
		if next == extFragment { // RFC 8200 section 4.5: its second byte is reserved
			field := binary.BigEndian.Uint16(rest[2:])
			f.FragOff, f.MoreFrag = field&^7, field&1 != 0
		} else {
			size += uint32(rest[1]) * 8
		}
		if size > uint32(len(rest)) {
			return 0, 0, BadHeaderLen
		}
		next, at = rest[0], at+size
		if f.FragOff != 0 {
			return next, at, None
		}
	}
	return 0, 0, BadHeaderLen
}
