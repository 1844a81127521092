package ipvsadm

import (
	"fmt"
	"io"
	"iter"
	"net/netip"
	"strconv"
)

const (
	connTitle   = "pro expire state       source             virtual            destination"
	connTitlePE = connTitle + "        pe name          pe_data"
)

// Conns writes the connections (ipvsadm -Lc) in the order they come. Names are used
// unless the list is numeric; a port of another protocol than TCP, UDP and SCTP is a number.
func (p *Printer) Conns(conns iter.Seq[ConnEntry]) error {
	p.text("IPVS connection entries")
	p.end()
	if p.list.PersistentConn {
		p.text(connTitlePE)
	} else {
		p.text(connTitle)
	}
	p.end()
	for c := range conns {
		if p.conn(&c); p.err != nil {
			break // nobody reads on
		}
	}
	return p.w.Flush()
}

func (p *Printer) conn(c *ConnEntry) {
	if name := protoName(c.Proto); name != "" {
		p.padded(name, 3)
	} else {
		p.text("IP_")
		p.line = strconv.AppendUint(p.line, uint64(c.Proto), 10)
	}
	p.text(" ")
	start := len(p.line)
	left := uint64(max(c.Expire, 0) / seconds(1))
	p.twoDigits(left / 60)
	p.text(":")
	p.twoDigits(left % 60)
	p.fill(start, 6)
	p.text(" ")
	p.padded(c.State, 11)
	p.text(" ")
	p.connEnd(c.Client, c.Proto, 18)
	p.text(" ")
	p.connEnd(c.Virtual, c.Proto, 18)
	p.text(" ")
	if p.list.PersistentConn && c.PEName != "" && c.PEData != "" {
		p.connEnd(c.Dest, c.Proto, 16)
		p.text(" ")
		p.padded(c.PEName, 18)
		p.text(" ")
		p.text(c.PEData)
	} else {
		p.connEnd(c.Dest, c.Proto, 0)
	}
	p.end()
}

func (p *Printer) connEnd(a netip.AddrPort, proto uint8, width int) {
	start := len(p.line)
	p.endpoint(a.Addr(), a.Port(), proto)
	p.fill(start, width)
}

// twoDigits appends n with a zero before it if it has one digit.
func (p *Printer) twoDigits(n uint64) {
	if n < 10 {
		p.line = append(p.line, '0')
	}
	p.line = strconv.AppendUint(p.line, n, 10)
}

// WriteTimeouts writes the line of ipvsadm -L --timeout.
func WriteTimeouts(w io.Writer, t Timeouts) error {
	_, err := fmt.Fprintf(w, "Timeout (tcp tcpfin udp): %d %d %d\n", t.TCP, t.TCPFin, t.UDP)
	return err
}

// WriteDaemons writes the lines of ipvsadm -L --daemon: the master, then the backup;
// nothing when there is none.
func WriteDaemons(w io.Writer, daemons []Daemon) error {
	for _, role := range [...]Role{Master, Backup} {
		for _, d := range daemons {
			if d.Role != role {
				continue
			}
			if _, err := io.WriteString(w, d.line()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *Daemon) line() string {
	s := fmt.Sprintf("%v sync daemon (mcast=%s, syncid=%d", d.Role, d.Interface, d.SyncID)
	if d.MaxLen != 0 {
		s += fmt.Sprintf(", maxlen=%d", d.MaxLen)
	}
	if d.Group.IsValid() {
		s += fmt.Sprintf(", group=%v", d.Group)
	}
	if d.Port != 0 {
		s += fmt.Sprintf(", port=%d", d.Port)
	}
	if d.TTL != 0 {
		s += fmt.Sprintf(", ttl=%d", d.TTL)
	}
	return s + ")\n"
}
