package conf

import (
	"fmt"
	"reflect"
	"testing"
	"time"
)

// filled gives every field of every struct below v a value that is not zero.
func filled(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		if v.Type().PkgPath() == "net/netip" {
			v.Set(reflect.ValueOf(allOnes))
			return
		}
		for i := range v.NumField() {
			filled(v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		filled(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		filled(v.Index(0))
	case reflect.String:
		v.SetString("a")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(time.Second))
	default:
		v.SetUint(1)
	}
}

// leaves calls f with each settable value below v, which f may change and must put back.
func leaves(name string, v reflect.Value, f func(name string, v reflect.Value)) {
	switch {
	case v.Kind() == reflect.Struct && v.Type().PkgPath() != "net/netip":
		for i := range v.NumField() {
			leaves(name+"."+v.Type().Field(i).Name, v.Field(i), f)
		}
	case v.Kind() == reflect.Pointer:
		leaves(name, v.Elem(), f)
		f(name, v)
	case v.Kind() == reflect.Slice:
		leaves(fmt.Sprintf("%s[0]", name), v.Index(0), f)
		f(name, v)
	default:
		f(name, v)
	}
}

func TestEqualKnowsEveryField(t *testing.T) {
	var s Service
	filled(reflect.ValueOf(&s).Elem())
	same := s.Clone()
	if !s.Equal(&same) {
		t.Fatalf("a clone is not equal:\n%+v\n%+v", s, same)
	}
	n := 0
	leaves("", reflect.ValueOf(&s).Elem(), func(name string, v reflect.Value) {
		n++
		was := reflect.ValueOf(v.Interface())
		v.SetZero()
		if s.Equal(&same) || same.Equal(&s) {
			t.Errorf("%s does not count", name)
		}
		v.Set(was)
	})
	if !s.Equal(&same) || n < 100 {
		t.Errorf("%d fields were tried", n)
	}
}

func TestCloneSharesNothing(t *testing.T) {
	var s Service
	filled(reflect.ValueOf(&s).Elem())
	text := fmt.Sprintf("%+v %+v %+v", s, s.Health, s.Health.Sorry)
	c := s.Clone()
	leaves("", reflect.ValueOf(&c).Elem(), func(_ string, v reflect.Value) {
		if v.Kind() != reflect.Pointer && v.Kind() != reflect.Slice {
			v.SetZero()
		}
	})
	if now := fmt.Sprintf("%+v %+v %+v", s, s.Health, s.Health.Sorry); now != text {
		t.Errorf("was %s\nnow %s", text, now)
	}
}
