package packet

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// What a kernel 6.1.192 answered to packets of no connection. IPv6 flow labels are
// drawn there, and 0 here.
func TestRefusalsAreTheKernels(t *testing.T) {
	for _, c := range []struct{ name, in, out string }{
		{"SYN", "450000280005400040066eb8c00002070a0900039c490051000003e8000000005002ffff434d0000",
			"450000280000400040066ebd0a090003c000020700519c4900000000000003e950140000433a0000"},
		{"ACK", "450000280011400040066d54c00002070a000164a0280050000003e90007a1205010ffff9ce00000",
			"450000280000400040066d650a000164c00002070050a0280007a1200000000050040000a0d50000"},
		{"data with ACK", "450000290004400040066d60c00002070a0001649c410050000003e90007a1215018ffff28bd000078",
			"450000280000400040066d650a000164c000020700509c410007a1210000000050040000a4bb0000"},
		{"no flags", "450000280009400040066d5cc00002070a0001649c490050000003e8000000005000ffff41f80000",
			"450000280000400040066d650a000164c000020700509c4900000000000003e85014000041e40000"},
		{"FIN without ACK", "45000028000e40004006f286cb0071d70a00016441e00050000003eb000000005029ffff21650000",
			"45000028000040004006f2940a000164cb0071d7005041e000000000000003ec5014000021790000"},
		{"SYN with data, IPv6", "600000000018064020010db800010000000000000000004120010db8000100000000000000000100" + "03ef0009000003e8000000005002ffff8683000061626364",
			"600000000014064020010db800010000000000000000010020010db8000100000000000000000041000903ef00000000000003ed501400004b370000"},
		{"SCTP data", "450000340008400040846cd1c00002090a0001640b590f1c00000000c426ac250000001200000001000000000000000041420000",
			"450200240000400040846ce70a000164c00002090f1c0b5900000000f524ea9e06010004"},
	} {
		in, err := hex.DecodeString(c.in)
		if err != nil {
			t.Fatal(err)
		}
		want, err := hex.DecodeString(c.out)
		if err != nil {
			t.Fatal(err)
		}
		f := NewIPFrame(in)
		if bad := f.Parse(); bad != None {
			t.Fatalf("%s: %v", c.name, bad)
		}
		if got := AppendRefusal(nil, f); !bytes.Equal(got, want) {
			t.Errorf("%s:\n got  %x\n want %x", c.name, got, want)
		}
		b := bytes.Clone(in)
		b[len(b)-1] ^= 1 // a wrong checksum
		f = NewIPFrame(b)
		f.Parse()
		if got := AppendRefusal(nil, f); len(got) != 0 {
			t.Errorf("%s with a wrong checksum is answered: %x", c.name, got)
		}
	}
}

// Nobody answers a refusal, or two hosts would do so for ever.
func TestRefusalsAreNotRefused(t *testing.T) {
	ends := Flow{Src: AddrFrom4([4]byte{192, 0, 2, 1}), Dst: AddrFrom4([4]byte{192, 0, 2, 2}), SrcPort: 1, DstPort: 2}
	for _, c := range []struct {
		name  string
		proto uint8
		flags uint8
		body  []byte
		want  []byte // the chunk of the answer; nil: none
		tag   uint32
	}{
		{"RST", TCP, RST, nil, nil, 0},
		{"SYN with RST", TCP, SYN | RST, nil, nil, 0},
		{"ABORT", SCTP, 0, []byte{ChunkAbort, 0, 0, 4}, nil, 0},
		{"COOKIE ECHO with an ABORT", SCTP, 0, []byte{ChunkCookieEcho, 0, 0, 6, 1, 2, 0, 0, ChunkAbort, 0, 0, 4}, nil, 0},
		{"SHUTDOWN COMPLETE", SCTP, 0, []byte{ChunkShutdownComplete, 0, 0, 4}, nil, 0},
		{"INIT", SCTP, 0, []byte{ChunkInit, 0, 0, 20, 0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, []byte{ChunkAbort, 0, 0, 4}, 0xdeadbeef},
		{"a chunk of length 0", SCTP, 0, []byte{ChunkData, 0, 0, 0}, []byte{ChunkAbort, 1, 0, 4}, 0},
		{"UDP", UDP, 0, []byte("x"), nil, 0},
	} {
		s := Spec{Flow: ends, TCPFlags: c.flags, Payload: c.body}
		s.Proto = c.proto
		f := NewIPFrame(s.IP())
		f.Parse()
		got := AppendRefusal(nil, f)
		if len(c.want) == 0 {
			if len(got) != 0 {
				t.Errorf("%s is answered: %x", c.name, got)
			}
			continue
		}
		g := NewIPFrame(got)
		if g.Parse() != None || !g.VerifyTransport() || !bytes.Equal(got[32:], c.want) || be32(got[24:]) != c.tag {
			t.Errorf("%s: answer %x", c.name, got)
		}
	}
}

func be32(b []byte) uint32 {
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}
