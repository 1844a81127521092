package pcap

import (
	"encoding/binary"
	"io"
	"slices"
	"time"
)

// Port is an interface of a capture.
type Port struct {
	Name string
	L2   bool // frames have an Ethernet header; else they are IP packets
}

// Direction of a frame, by the epb_flags option.
type Direction uint32

const (
	Inbound  Direction = 1
	Outbound Direction = 2
)

// Commented writes a growing pcapng capture whose frames carry comments, which pcapgo's
// writer cannot. Each call writes whole blocks at once, so that what there is of the
// capture can be read at any time. The blocks are those of draft-ietf-opsawg-pcapng.
type Commented struct {
	w    io.Writer
	buf  []byte
	bare []bool // by port: its frames are put behind an Ethernet header
}

// libpcap reads no capture of several link types. So if any port has Ethernet, packets of
// those that have not are put behind a header of zeros, and the interface says so.
const (
	etherLen = 14
	bareText = "IP packets, here behind an Ethernet header of zeros"
)

// Block types and options.
const (
	ngSection    = 0x0a0d0d0a
	ngInterface  = 1
	ngStatistics = 5
	ngPacket     = 6

	optComment     = 1
	optUserAppl    = 4 // of a section
	optName        = 2 // of an interface
	optDescription = 3 // of an interface
	optResolution  = 9 // of an interface
	optFlags       = 2 // of a packet
	optOSDrop      = 7 // of statistics
)

// NewCommented begins a capture.
func NewCommented(w io.Writer, ports []Port, snaplen int) (*Commented, error) {
	c := &Commented{w: w}
	c.block(ngSection, func() {
		c.u32(0x1a2b3c4d)
		c.u16(1)
		c.u16(0)
		c.u32(^uint32(0)) // of unknown length
		c.u32(^uint32(0))
		c.option(optUserAppl, []byte("dirigo"))
		c.option(0, nil)
	})
	ether := slices.ContainsFunc(ports, func(p Port) bool { return p.L2 })
	for _, p := range ports {
		c.bare = append(c.bare, ether && !p.L2)
		c.block(ngInterface, func() {
			link := uint16(101) // LINKTYPE_RAW
			if ether {
				link = 1 // LINKTYPE_ETHERNET
			}
			c.u16(link)
			c.u16(0)
			c.u32(uint32(snaplen + etherLen))
			c.option(optName, []byte(p.Name))
			if ether && !p.L2 {
				c.option(optDescription, []byte(bareText))
			}
			c.option(optResolution, []byte{9}) // nanoseconds
			c.option(0, nil)
		})
	}
	return c, c.flush()
}

// Write adds a frame of which data is there and length bytes there were.
func (c *Commented) Write(t time.Time, port int, d Direction, data []byte, length int, comment string) error {
	if c.bare[port] {
		data, length = append(bareHeader(data), data...), length+etherLen
	}
	c.block(ngPacket, func() {
		c.u32(uint32(port))
		c.time(t)
		c.u32(uint32(len(data)))
		c.u32(uint32(length))
		c.padded(data)
		c.option(optComment, []byte(comment))
		c.option(optFlags, binary.NativeEndian.AppendUint32(nil, uint32(d)))
		c.option(0, nil)
	})
	return c.flush()
}

// bareHeader is the header of zeros for an IP packet, with its type.
func bareHeader(ip []byte) []byte {
	h := make([]byte, etherLen, etherLen+len(ip))
	if h[12], h[13] = 0x08, 0x00; len(ip) > 0 && ip[0]>>4 == 6 {
		h[12], h[13] = 0x86, 0xdd
	}
	return h
}

// Dropped adds how many frames are missing from the capture.
func (c *Commented) Dropped(t time.Time, n uint64) error {
	c.block(ngStatistics, func() {
		c.u32(0) // they are counted together, for the first interface
		c.time(t)
		c.option(optOSDrop, binary.NativeEndian.AppendUint64(nil, n))
		c.option(0, nil)
	})
	return c.flush()
}

func (c *Commented) flush() error {
	_, err := c.w.Write(c.buf)
	c.buf = c.buf[:0]
	return err
}

// block appends a block; its length stands at both ends.
func (c *Commented) block(kind uint32, body func()) {
	at := len(c.buf)
	c.u32(kind)
	c.u32(0)
	body()
	n := uint32(len(c.buf) - at + 4)
	binary.NativeEndian.PutUint32(c.buf[at+4:], n)
	c.u32(n)
}

func (c *Commented) u16(v uint16) { c.buf = binary.NativeEndian.AppendUint16(c.buf, v) }
func (c *Commented) u32(v uint32) { c.buf = binary.NativeEndian.AppendUint32(c.buf, v) }

func (c *Commented) time(t time.Time) {
	ns := uint64(t.UnixNano())
	c.u32(uint32(ns >> 32))
	c.u32(uint32(ns))
}

func (c *Commented) padded(b []byte) {
	c.buf = append(c.buf, b...)
	c.buf = append(c.buf, make([]byte, -len(b)&3)...)
}

func (c *Commented) option(code uint16, b []byte) {
	c.u16(code)
	c.u16(uint16(len(b)))
	c.padded(b)
}
