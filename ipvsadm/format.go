package ipvsadm

import (
	"bufio"
	"io"
	"net/netip"
	"strconv"

	"github.com/dirigo-lb/dirigo/packet"
)

// KernelVersion is the version of IPVS whose behaviour is shown, as in the first line of
// a listing (ip_vs.h: IP_VS_VERSION_CODE).
const KernelVersion = "1.2.1"

// Namer turns numbers into names for a listing without -n.
type Namer interface {
	// HostName returns the name of an IPv4 address. ipvsadm 1.31 shows IPv6 addresses as
	// numbers always: it asks for them with the length of an IPv4 address.
	HostName(netip.Addr) (string, bool)
	// ServiceName returns the name of a port of packet.TCP, packet.UDP or packet.SCTP.
	ServiceName(port uint16, proto uint8) (string, bool)
}

// Printer writes listings as ipvsadm does, line by line: it holds one line and a
// buffer, however long the list is. It keeps the first error of its writer, which every
// method returns.
type Printer struct {
	w     *bufio.Writer
	list  List
	names Namer
	line  []byte // the line being made, reused
	name  []byte // the service's name in the rules of Save
	err   error  // of the writer, as of the last line
}

// NewPrinter returns a Printer in the given style. Without names, or with list.Numeric,
// addresses and ports are numbers.
func NewPrinter(w io.Writer, list List, names Namer) *Printer {
	if list.Numeric {
		names = nil
	}
	return &Printer{w: bufio.NewWriterSize(w, 1<<16), list: list, names: names}
}

// end writes the line.
func (p *Printer) end() {
	p.line = append(p.line, '\n')
	_, p.err = p.w.Write(p.line) // bufio keeps the error, so Flush has it too
	p.line = p.line[:0]
}

func (p *Printer) text(s string) { p.line = append(p.line, s...) }

// padded appends s and fills up to width with blanks.
func (p *Printer) padded(s string, width int) {
	start := len(p.line)
	p.line = append(p.line, s...)
	p.fill(start, width)
}

// fill appends blanks until what began at start is width long.
func (p *Printer) fill(start, width int) {
	for len(p.line)-start < width {
		p.line = append(p.line, ' ')
	}
}

// left appends a number and fills up to width with blanks.
func (p *Printer) left(n uint64, width int) {
	start := len(p.line)
	p.line = strconv.AppendUint(p.line, n, 10)
	p.fill(start, width)
}

// right appends a number, with blanks before it up to width.
func (p *Printer) right(n uint64, width int) {
	for range width - digits(n) {
		p.line = append(p.line, ' ')
	}
	p.line = strconv.AppendUint(p.line, n, 10)
}

func digits(n uint64) int {
	d := 1
	for ; n >= 10; n /= 10 {
		d++
	}
	return d
}

// large appends a counter in nine columns or a little more.
func (p *Printer) large(n uint64) {
	switch {
	case p.list.Exact:
		p.right(n, max(9, digits(n)+1))
	case n < 1e8:
		p.right(n, 9)
	case n < 1e9:
		p.scaled(n/1e3, 'K')
	case n < 1e11:
		p.scaled(n/1e6, 'M')
	case n < 1e14:
		p.scaled(n/1e9, 'G')
	default:
		p.scaled(n/1e12, 'T')
	}
}

func (p *Printer) scaled(n uint64, unit byte) {
	p.right(n, 8)
	p.line = append(p.line, unit)
}

// endpoint appends address and port, an IPv6 address in brackets. Ports have names in TCP,
// UDP and SCTP only.
func (p *Printer) endpoint(a netip.Addr, port uint16, proto uint8) {
	if a.Is6() {
		p.line = append(p.line, '[')
		p.line = appendIPv6(p.line, a)
		p.line = append(p.line, ']')
	} else if name, ok := p.hostName(a); ok {
		p.text(name)
	} else {
		p.line = a.AppendTo(p.line)
	}
	p.line = append(p.line, ':')
	if name, ok := p.serviceName(port, proto); ok {
		p.text(name)
	} else {
		p.line = strconv.AppendUint(p.line, uint64(port), 10)
	}
}

func (p *Printer) hostName(a netip.Addr) (string, bool) {
	if p.names == nil {
		return "", false
	}
	return p.names.HostName(a)
}

func (p *Printer) serviceName(port uint16, proto uint8) (string, bool) {
	switch proto {
	case packet.TCP, packet.UDP, packet.SCTP:
		if p.names != nil {
			return p.names.ServiceName(port, proto)
		}
	}
	return "", false
}

// appendIPv6 appends a as inet_ntop(3) writes it: unlike netip it ends an address
// of ::/96 in dotted form, but for :: and ::1 to ::ffff.
func appendIPv6(b []byte, a netip.Addr) []byte {
	x := a.As16()
	if [12]byte(x[:12]) == [12]byte{} && (x[12] != 0 || x[13] != 0) {
		return netip.AddrFrom4([4]byte(x[12:])).AppendTo(append(b, "::"...))
	}
	return a.AppendTo(b)
}
