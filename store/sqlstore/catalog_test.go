package sqlstore

import (
	"testing"

	"github.com/matryer/is"
)

func TestTypes(t *testing.T) {
	is := is.New(t)
	for typ, want := range map[string][3]bool{ // text, ID, condition
		"varchar(64)": {true, true, false}, "text": {true, true, false}, "clob": {true, true, false},
		"integer": {false, true, true}, "bigint": {false, true, true}, "boolean": {false, false, true},
		"uuid": {false, true, false}, "blob": {}, "": {}, "real": {}, "numeric": {}, "datetime": {}, "charint": {false, true, true},
	} {
		is.Equal([3]bool{SQLite.isText(typ), SQLite.isID(typ), SQLite.isCondition(typ)}, want)
	}
}
