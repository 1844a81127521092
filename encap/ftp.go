package encap

import (
	"encoding/binary"
	"net/netip"
	"strconv"

	"github.com/dirigo-lb/dirigo/packet"
)

// FTPVerb is what an FTP client asked for on its control connection, as far as a
// director must know (RFC 959 section 4.1.2, RFC 2428; kernel ip_vs_ftp).
type FTPVerb uint8

const (
	FTPNone FTPVerb = iota // nothing that concerns a director
	FTPPasv                // PASV: the server shall name an IPv4 address and port
	FTPEpsv                // EPSV: the server shall name a port
	FTPPort                // PORT: the client names an IPv4 address and port
	FTPEprt                // EPRT: the client names an address of the connection's family and a port
)

// FTPAddress is an address and port in the text of a control connection.
type FTPAddress struct {
	At, Len int         // where the text stands in the payload, without the brackets
	Addr    packet.Addr // zero when the text names none, as it is usual in a reply to EPSV
	Port    uint16      // host byte order
}

// ParseFTPCommand reads a segment from the client of a control connection; v6 is the
// connection's family. PASV and EPSV are found anywhere in the segment, before PORT and
// EPRT, which stand at its start; letters of either case (ip_vs_ftp_in). Address and
// port come with FTPPort and FTPEprt only. A command that is not whole in this segment
// is none.
//
// As in the kernel of 6.1, numbers of PORT wrap at 8 bits and the port of EPRT at 16.
func ParseFTPCommand(payload []byte, v6 bool) (FTPVerb, FTPAddress) {
	for i := 0; i+6 <= len(payload); i++ {
		switch rest := payload[i:]; {
		case !v6 && hasFold(rest, "PASV\r\n"):
			return FTPPasv, FTPAddress{}
		case hasFold(rest, "EPSV\r"):
			return FTPEpsv, FTPAddress{}
		case hasFold(rest, "EPSV "): // and the wanted family; ALL is not ours
			if len(rest) >= 7 && rest[5] == family(v6) && rest[6] == '\r' {
				return FTPEpsv, FTPAddress{}
			}
			return FTPNone, FTPAddress{}
		}
	}
	if hasFold(payload, "PORT") && !v6 {
		if a, ok := parseHostPort(payload, skipTo(payload, 4, ' ', true)); ok {
			return FTPPort, a
		}
	}
	if hasFold(payload, "EPRT") {
		if a, ok := parseExtended(payload, skipTo(payload, 4, ' ', false), v6, false); ok {
			return FTPEprt, a
		}
	}
	return FTPNone, FTPAddress{}
}

// ParseFTPReply reads a segment from the server when the client's last command was verb,
// FTPPasv or FTPEpsv: reply 227 or 229, at the segment's start and whole in it
// (ip_vs_ftp_out). The text to replace is payload[At:At+Len].
func ParseFTPReply(payload []byte, verb FTPVerb, v6 bool) (a FTPAddress, ok bool) {
	switch {
	case verb == FTPPasv && hasFold(payload, "227 "): // the bracket may be missing
		return parseHostPort(payload, skipTo(payload, 4, '(', true))
	case verb == FTPEpsv && hasFold(payload, "229 "):
		return parseExtended(payload, skipTo(payload, 4, '(', false), v6, true)
	}
	return FTPAddress{}, false
}

// AppendFTPPasv appends the text of a 227 reply that names addr, an IPv4 address, and
// port: h1,h2,h3,h4,p1,p2 (RFC 959 section 4.1.2).
func AppendFTPPasv(dst []byte, addr packet.Addr, port uint16) []byte {
	for _, n := range [6]byte{addr[12], addr[13], addr[14], addr[15], byte(port >> 8), byte(port)} {
		dst = append(strconv.AppendUint(dst, uint64(n), 10), ',')
	}
	return dst[:len(dst)-1]
}

// AppendFTPEpsv appends the text of a 229 reply that names port on the address that the
// control connection has: |||port| (RFC 2428 section 3).
func AppendFTPEpsv(dst []byte, port uint16) []byte {
	return append(strconv.AppendUint(append(dst, "|||"...), uint64(port), 10), '|')
}

// family is RFC 2428's number of an address family.
func family(v6 bool) byte {
	if v6 {
		return '2'
	}
	return '1'
}

// hasFold reports whether b begins with the upper case word, in either case.
func hasFold(b []byte, word string) bool {
	if len(b) < len(word) {
		return false
	}
	for i := range len(word) {
		c := b[i]
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != word[i] {
			return false
		}
	}
	return true
}

// skipTo returns the place behind the first run of the byte c, from at on; or, with
// orDigit, of the first digit if that comes before.
func skipTo(b []byte, at int, c byte, orDigit bool) int {
	for at < len(b) && b[at] != c {
		if orDigit && isDigit(b[at]) {
			return at
		}
		at++
	}
	for at < len(b) && b[at] == c {
		at++
	}
	return at
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// parseHostPort reads six numbers with commas between and something behind them.
func parseHostPort(b []byte, at int) (FTPAddress, bool) {
	var n [6]byte
	i, start := 0, at
	for ; at < len(b); at++ {
		switch c := b[at]; {
		case isDigit(c):
			n[i] = n[i]*10 + c - '0'
			continue
		case c == ',' && i < 5:
			i++
			continue
		}
		return FTPAddress{
			At: start, Len: at - start,
			Addr: packet.AddrFrom4([4]byte(n[:4])),
			Port: binary.BigEndian.Uint16(n[4:]),
		}, i == 5
	}
	return FTPAddress{}, false // more may come in the next segment
}

// parseExtended reads the text of EPRT or, with bare, of a reply to EPSV, in which
// family and address may be missing: RFC 2428 sections 2 and 3.
//
//	<d>family<d>address<d>port<d>
func parseExtended(b []byte, at int, v6, bare bool) (a FTPAddress, ok bool) {
	a.At = at
	if at+3 > len(b) || b[at] < 33 || b[at] > 126 {
		return FTPAddress{}, false
	}
	d := b[at]
	at++
	switch {
	case b[at] == d: // no family, then no address either
		if !bare || b[at+1] != d {
			return FTPAddress{}, false
		}
		at += 2
	case b[at] != family(v6) || b[at+1] != d:
		return FTPAddress{}, false
	default:
		at += 2
		from := at
		for at < len(b) && b[at] != d {
			at++
		}
		if a.Addr, ok = parseAddr(b[from:at], v6); !ok || at == len(b) {
			return FTPAddress{}, false
		}
		at++
	}
	for ; at < len(b) && isDigit(b[at]); at++ {
		a.Port = a.Port*10 + uint16(b[at]-'0')
	}
	if at == len(b) || b[at] != d || a.Port == 0 {
		return FTPAddress{}, false
	}
	a.Len = at + 1 - a.At
	return a, true
}

// parseAddr reads an address in text, not longer than an address can be. Numbers of an
// IPv4 address may begin with zeros and are decimal all the same (in4_pton).
func parseAddr(b []byte, v6 bool) (packet.Addr, bool) {
	if v6 {
		if len(b) > len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255") {
			return packet.Addr{}, false
		}
		addr, err := netip.ParseAddr(string(b))
		return packet.AddrFrom(addr), err == nil && addr.Is6() && addr.Zone() == ""
	}
	var a [4]byte
	for i := range a {
		n, digits := 0, 0
		for ; digits < len(b) && isDigit(b[digits]); digits++ {
			if n = n*10 + int(b[digits]-'0'); n > 255 {
				return packet.Addr{}, false
			}
		}
		a[i], b = byte(n), b[digits:]
		if digits == 0 || (i < 3) != (len(b) > 0) {
			return packet.Addr{}, false
		}
		if i < 3 {
			if b[0] != '.' {
				return packet.Addr{}, false
			}
			b = b[1:]
		}
	}
	return packet.AddrFrom4(a), true
}
