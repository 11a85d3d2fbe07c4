// A POST through curl's easy interface.
#include "runtime/activities/post.hpp"

#include <curl/curl.h>

#include <memory>

namespace kflow::activities {
namespace {
size_t ignore(char*, size_t size, size_t count, void*) { return size * count; }
}  // namespace

Result<PostAnswer> http_post(const std::string& url, const std::vector<std::string>& headers,
                             std::string_view body, int64_t timeout_ms) {
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> easy(curl_easy_init(),
                                                                 &curl_easy_cleanup);
  if (!easy) return fail(ErrorCode::unavailable, "curl cannot be used");
  curl_slist* list = nullptr;
  for (const std::string& header : headers) list = curl_slist_append(list, header.c_str());
  const std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> owned(list,
                                                                          &curl_slist_free_all);
  char message[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(easy.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy.get(), CURLOPT_HTTPHEADER, list);
  curl_easy_setopt(easy.get(), CURLOPT_POSTFIELDS, body.data());
  curl_easy_setopt(easy.get(), CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
  curl_easy_setopt(easy.get(), CURLOPT_TIMEOUT_MS, static_cast<long>(timeout_ms));
  curl_easy_setopt(easy.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy.get(), CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy.get(), CURLOPT_WRITEFUNCTION, ignore);
  curl_easy_setopt(easy.get(), CURLOPT_ERRORBUFFER, message);
  if (curl_easy_perform(easy.get()) != CURLE_OK)
    return fail(ErrorCode::unavailable, "no answer from " + url + ": " + message);
  PostAnswer out;
  long status = 0;
  curl_off_t retry = 0;
  curl_easy_getinfo(easy.get(), CURLINFO_RESPONSE_CODE, &status);
  curl_easy_getinfo(easy.get(), CURLINFO_RETRY_AFTER, &retry);
  out.status = static_cast<int>(status);
  out.retry_after_ms = retry * 1000;
  return out;
}

}  // namespace kflow::activities
