// The schema registry of franz-go's tests (pkg/sr/srfake) as a program: prints a ready line and serves until it is killed.
// Argument: the value of the Authorization header that it wants. What srfake lacks and Confluent's clients ask for is added:
// schemas as compiled descriptors (format=serialized), made by protoc from what was registered.
// SPDX-License-Identifier: Apache-2.0
package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/twmb/franz-go/pkg/sr/srfake"
)

// A FileDescriptorSet of one file without imports is the tag and length of that file, then its FileDescriptorProto.
func compiled(text string) (string, error) {
	folder, err := os.MkdirTemp("", "schema")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(folder)
	source, out := filepath.Join(folder, "schema.proto"), filepath.Join(folder, "out.pb")
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		return "", err
	}
	if said, err := exec.Command("protoc", "-I"+folder, "--descriptor_set_out="+out, source).CombinedOutput(); err != nil {
		return "", fmt.Errorf("protoc: %s", said)
	}
	set, err := os.ReadFile(out)
	if err != nil {
		return "", err
	}
	at := 1
	for set[at]&0x80 != 0 {
		at++
	}
	return base64.StdEncoding.EncodeToString(set[at+1:]), nil
}

func serialized(inner http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("format") != "serialized" {
			inner.ServeHTTP(w, r)
			return
		}
		plain, answer := httptest.NewRecorder(), map[string]any{}
		inner.ServeHTTP(plain, r)
		if text, ok := "", json.Unmarshal(plain.Body.Bytes(), &answer) == nil; ok && plain.Code == http.StatusOK {
			text, _ = answer["schema"].(string)
			done, err := compiled(text)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			answer["schema"] = done
		}
		w.Header().Set("Content-Type", "application/vnd.schemaregistry.v1+json")
		w.WriteHeader(plain.Code)
		json.NewEncoder(w).Encode(answer)
	}
}

func main() {
	var options []srfake.Option
	if len(os.Args) > 1 {
		options = append(options, srfake.WithAuth(os.Args[1]))
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("ready registry=%s\n", listener.Addr())
	fmt.Fprintln(os.Stderr, http.Serve(listener, serialized(srfake.NewRegistry(options...).Handler())))
}
