package pcap

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// Record is one frame of a capture.
type Record struct {
	Number    int // from 1
	Time      time.Time
	Interface string // its name, if the capture says it (pcapng)
	L2        bool   // with an Ethernet header; else an IP packet
	Data      []byte // owned by the caller
	Truncated bool   // the capture holds less than the frame
}

// Reader reads a capture in pcap or pcapng form.
type Reader struct {
	ng     *pcapgo.NgReader
	plain  *pcapgo.Reader
	number int
}

// ErrLinkType says that a capture's frames are neither Ethernet nor IP.
var ErrLinkType = errors.New("link type is neither Ethernet nor raw IP")

// NewReader recognises the capture's form by its first bytes.
func NewReader(r io.Reader) (*Reader, error) {
	b := bufio.NewReaderSize(r, 1<<16)
	magic, err := b.Peek(4)
	if err != nil {
		return nil, fmt.Errorf("not a capture: %w", err)
	}
	if bytes.Equal(magic, []byte{0x0a, 0x0d, 0x0d, 0x0a}) { // section header block
		ng, err := pcapgo.NewNgReader(b, pcapgo.NgReaderOptions{WantMixedLinkType: true})
		if err != nil {
			return nil, fmt.Errorf("pcapng: %w", err)
		}
		return &Reader{ng: ng}, nil
	}
	plain, err := pcapgo.NewReader(b)
	if err != nil {
		return nil, fmt.Errorf("pcap: %w", err)
	}
	return &Reader{plain: plain}, nil
}

// Next reads the next frame; io.EOF after the last. A capture that was cut off in the
// middle of a frame ends with io.ErrUnexpectedEOF.
func (r *Reader) Next() (rec Record, err error) {
	r.number++
	rec.Number = r.number
	var info gopacket.CaptureInfo
	var link layers.LinkType
	if r.ng != nil {
		rec.Data, info, err = r.ng.ReadPacketData()
		if err == nil {
			iface, ierr := r.ng.Interface(info.InterfaceIndex)
			if ierr != nil {
				return rec, fmt.Errorf("frame %d: %w", rec.Number, ierr)
			}
			rec.Interface, link = iface.Name, iface.LinkType
		}
	} else {
		rec.Data, info, err = r.plain.ReadPacketData()
		link = r.plain.LinkType()
	}
	if err != nil {
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return rec, io.EOF
		}
		return rec, fmt.Errorf("frame %d: %w", rec.Number, err)
	}
	switch link {
	case layers.LinkTypeEthernet:
		rec.L2 = true
	case layers.LinkTypeRaw, layers.LinkTypeIPv4, layers.LinkTypeIPv6, 12, 14: // 12, 14: LINKTYPE_RAW on some systems
	default:
		return rec, fmt.Errorf("frame %d: link type %d: %w", rec.Number, link, ErrLinkType)
	}
	rec.Time, rec.Truncated = info.Timestamp, info.CaptureLength < info.Length
	return rec, nil
}

// Writer writes a capture: pcapng, which keeps the port a frame left by, or plain pcap.
type Writer struct {
	ng    *pcapgo.NgWriter
	plain *pcapgo.Writer
	out   *bufio.Writer
}

// NewWriter begins a capture of frames sent by the named ports; l2 says for each whether
// its frames have an Ethernet header. Plain pcap holds one kind only.
func NewWriter(w io.Writer, ng bool, ports []string, l2 []bool) (*Writer, error) {
	link := func(i int) layers.LinkType {
		if l2[i] {
			return layers.LinkTypeEthernet
		}
		return layers.LinkTypeRaw
	}
	out := bufio.NewWriterSize(w, 1<<16)
	if !ng {
		for i := range l2 {
			if l2[i] != l2[0] {
				return nil, errors.New("ports with and without Ethernet: a plain pcap file cannot hold both; name the output *.pcapng")
			}
		}
		p := pcapgo.NewWriterNanos(out)
		return &Writer{plain: p, out: out}, p.WriteFileHeader(1<<18, link(0))
	}
	opts := pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{Application: "dirigo"}}
	face := func(i int) pcapgo.NgInterface {
		return pcapgo.NgInterface{Name: ports[i], LinkType: link(i), TimestampResolution: 9, OS: "dirigo"}
	}
	n, err := pcapgo.NewNgWriterInterface(out, face(0), opts)
	if err != nil {
		return nil, err
	}
	for i := 1; i < len(ports); i++ {
		if _, err := n.AddInterface(face(i)); err != nil {
			return nil, err
		}
	}
	return &Writer{ng: n, out: out}, nil
}

// Write adds a frame that left by port number port.
func (w *Writer) Write(t time.Time, port int, frame []byte) error {
	info := gopacket.CaptureInfo{Timestamp: t, CaptureLength: len(frame), Length: len(frame), InterfaceIndex: port}
	if w.ng != nil {
		return w.ng.WritePacket(info, frame)
	}
	return w.plain.WritePacket(info, frame)
}

// Close writes what is buffered.
func (w *Writer) Close() error {
	if w.ng != nil {
		if err := w.ng.Flush(); err != nil {
			return err
		}
	}
	return w.out.Flush()
}
