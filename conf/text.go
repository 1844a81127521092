package conf

import (
	"fmt"
	"strconv"
	"strings"
)

// The words of the file are those of the control API too: keys and methods are texts
// there.

// ParseServiceKey reads what ServiceKey.String writes.
func ParseServiceKey(s string) (k ServiceKey, err error) {
	mark, isMark := strings.CutPrefix(s, "fwmark ")
	if !isMark {
		return parseListen(s)
	}
	mark, k.V6 = strings.CutSuffix(mark, " ipv6")
	n, err := strconv.ParseUint(mark, 10, 32)
	if err != nil || n == 0 {
		return k, fmt.Errorf("%q is not a mark; write a number from 1 to 4294967295", mark)
	}
	k.Fwmark = uint32(n)
	return k, nil
}

// MarshalText is String.
func (k ServiceKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText is ParseServiceKey.
func (k *ServiceKey) UnmarshalText(b []byte) (err error) {
	*k, err = ParseServiceKey(string(b))
	return err
}

// methods are those of a connection: one that goes past all servers has a word too.
var methods = append(forwards[:len(forwards):len(forwards)], vocabulary[Forward]{{"bypass", Bypass}}...)

// MarshalText is the method's word in the file.
func (f Forward) MarshalText() ([]byte, error) { return word(methods, f, "a forwarding method") }

// UnmarshalText reads the method's word in the file.
func (f *Forward) UnmarshalText(b []byte) error { return unword(methods, f, b, "a forwarding method") }

// MarshalText is the encapsulation's word in the file.
func (t TunType) MarshalText() ([]byte, error) { return word(tunnels, t, "a tunnel type") }

// UnmarshalText reads the encapsulation's word in the file.
func (t *TunType) UnmarshalText(b []byte) error { return unword(tunnels, t, b, "a tunnel type") }

func word[T comparable](v vocabulary[T], value T, what string) ([]byte, error) {
	if w := v.word(value); w != "" {
		return []byte(w), nil
	}
	return nil, fmt.Errorf("%v is not %s", value, what)
}

func unword[T comparable](v vocabulary[T], to *T, b []byte, what string) error {
	value, ok := v.value(string(b))
	if !ok {
		return fmt.Errorf("%q is not %s; %s", b, what, oneOf(v.words()))
	}
	*to = value
	return nil
}

// FlagNames are the words of a scheduler's flags, the lowest bit first.
func FlagNames(scheduler string, flags uint8) (names []string) {
	known := schedulerFlags(scheduler)
	for bit := SchedFlag1; bit <= SchedFlag3; bit <<= 1 {
		if flags&bit != 0 {
			names = append(names, known.word(bit))
		}
	}
	return names
}

// ParseFlags reads what FlagNames writes.
func ParseFlags(scheduler string, names []string) (flags uint8, err error) {
	known := schedulerFlags(scheduler)
	for _, n := range names {
		bit, ok := known.value(n)
		if !ok {
			return 0, fmt.Errorf("%q is not a flag of scheduler %s; %s", n, scheduler, oneOf(known.words()))
		}
		flags |= bit
	}
	return flags, nil
}

// ChecksumName is the word for a tunnel's checksums: none, full, remote.
func ChecksumName(flags uint8) string { return checksums.word(flags) }

// ParseChecksum reads what ChecksumName writes.
func ParseChecksum(name string) (uint8, error) {
	v, ok := checksums.value(name)
	if !ok {
		return 0, fmt.Errorf("%q is not a tunnel checksum; %s", name, oneOf(checksums.words()))
	}
	return v, nil
}
