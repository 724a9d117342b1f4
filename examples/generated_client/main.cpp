// Run a job by the client that was generated from the OpenAPI document, and verify its receipt: main MODULE ARGUMENT
// PLASM_URL and PLASM_TOKEN name the server.
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>

#include "plasm/ApiClient.h"
#include "plasm/ApiConfiguration.h"
#include "plasm/api/DefaultApi.h"
#include "verify_receipt.hpp"

namespace api = org::openapitools::client::api;
using org::openapitools::client::model::HttpContent;

int main(int count, char** given) {
    const char *url = std::getenv("PLASM_URL"), *token = std::getenv("PLASM_TOKEN");
    if (count != 3 || url == nullptr || token == nullptr) {
        std::cerr << "usage: PLASM_URL=URL PLASM_TOKEN=TOKEN main MODULE ARGUMENT\n";
        return 2;
    }
    try {
        auto configuration = std::make_shared<api::ApiConfiguration>();
        configuration->setBaseUrl(url);
        configuration->getDefaultHeaders()["Authorization"] = std::string("Bearer ") + token;
        api::DefaultApi plasm(std::make_shared<api::ApiClient>(configuration));

        auto module = std::make_shared<HttpContent>();
        module->setName("module");
        module->setFileName("module.wasm");
        module->setContentDisposition("form-data");
        module->setContentType("application/octet-stream");
        module->setData(std::make_shared<std::ifstream>(given[1], std::ios::binary));
        const std::string node = plasm.getNode(boost::none).get()->getPeerId();
        const auto job = plasm.submitJob(std::string("wait=60"), boost::none, module, boost::none, boost::none, boost::none,
                                         std::vector<std::string>{given[2]}, boost::none, boost::none, boost::none).get();
        const auto answer = plasm.getStdout(job->getJobId(), boost::none, boost::none, boost::none).get();
        std::ostringstream read;
        read << answer->getData()->rdbuf();
        const std::string output = read.str();
        const auto envelope = plasm.getReceipt(job->getJobId(), boost::none).get()->toJson();
        const auto statement = receipt::verified(envelope, node, job->getJobId(), output);
        std::cout << output << "receipt verified, signed by " << node << ", outcome "
                  << statement.at("predicate").at("result").at("outcome").serialize() << "\n";
        try {
            receipt::verified(envelope, node, job->getJobId(), output + "x");
            std::cerr << "a wrong output was accepted\n";
            return 1;
        } catch (const std::runtime_error& refused) {
            std::cout << "with another output: " << refused.what() << "\n";
        }
    } catch (const std::exception& problem) {
        std::cerr << problem.what() << "\n";
        return 1;
    }
}
