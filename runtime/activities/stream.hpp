// One exchange under way in curl.
#pragma once

#include <curl/curl.h>

#include "runtime/activities/exchange.hpp"

namespace kflow::activities {

class Stream {
 public:
  Stream(Exchange exchange, ExchangeHandler on_event);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  uint64_t id() const { return exchange_.id; }
  CURL* easy() const { return easy_; }
  /// False: something in it cannot be sent.
  bool prepare();
  void stopped();
  void ended(CURLcode code);

 private:
  static size_t on_header(char* data, size_t size, size_t count, void* user);
  static size_t on_body(char* data, size_t size, size_t count, void* user);
  void head();

  Exchange exchange_;
  ExchangeHandler on_event_;
  CURL* easy_ = nullptr;
  curl_slist* headers_ = nullptr;
  std::map<std::string, std::string> answer_headers_;
  size_t header_bytes_ = 0;
  bool head_told_ = false;
  std::string problem_;
  char error_[CURL_ERROR_SIZE] = "";
};

}  // namespace kflow::activities
