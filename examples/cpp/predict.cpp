// Predicts with a bundle from C++: the manifest says the names, shapes and types, OpenVINO runs the ONNX file.
//
//     predict BUNDLE INPUTS OUTPUTS
//
// INPUTS is a folder with one raw file `<input name>.bin` for each input (little-endian, C order, any batch
// that the bundle takes); OUTPUTS gets one `<output name>.bin` for each output. Slashes in names are written
// as "_".

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <openvino/openvino.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kFormat = 1;  // the manifest's format_version that this program knows

ov::element::Type element_type(const std::string& name) {
    static const std::map<std::string, ov::element::Type> types = {
        {"float32", ov::element::f32}, {"float64", ov::element::f64}, {"float16", ov::element::f16},
        {"int8", ov::element::i8},     {"int16", ov::element::i16},   {"int32", ov::element::i32},
        {"int64", ov::element::i64},   {"uint8", ov::element::u8},    {"uint16", ov::element::u16},
        {"uint32", ov::element::u32},  {"bool", ov::element::boolean}};
    const auto at = types.find(name);
    if (at == types.end()) throw std::runtime_error("no element type of C++ for " + name);
    return at->second;
}

fs::path raw_file(const fs::path& folder, std::string name) {
    std::replace(name.begin(), name.end(), '/', '_');
    return folder / (name + ".bin");
}

std::vector<char> read(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error("cannot read " + path.string());
    return {std::istreambuf_iterator<char>(file), {}};
}

// The shape of an input that holds so many bytes: the batch axis, open in the manifest, follows from them.
ov::Shape shape_of(const json& spec, std::size_t bytes, std::size_t element) {
    ov::Shape shape;
    std::size_t open = 0, known = element;
    for (const auto& axis : spec.at("shape")) {
        if (axis.is_string()) {
            if (++open > 1) throw std::runtime_error("more than one open axis; this example reads one");
            shape.push_back(0);
        } else {
            shape.push_back(axis.get<std::size_t>());
            known *= shape.back();
        }
    }
    const auto name = spec.at("name").get<std::string>();
    if (known == 0 || bytes % known != 0 || (open == 0 && bytes != known))
        throw std::runtime_error("input " + name + ": " + std::to_string(bytes) + " bytes are no whole rows of " +
                                 std::to_string(known));
    std::replace(shape.begin(), shape.end(), std::size_t{0}, bytes / known);
    return shape;
}

void predict(const fs::path& bundle, const fs::path& inputs, const fs::path& outputs) {
    const auto manifest = json::parse(read(bundle / "manifest.json"));
    if (manifest.at("format_version") > kFormat) throw std::runtime_error("the bundle is newer than this program");

    ov::Core core;
    // As the Python runner: floats stay float32, also on processors with bfloat16.
    auto compiled = core.compile_model((bundle / manifest.value("onnx_file", "model.onnx")).string(), "CPU",
                                       ov::hint::inference_precision(ov::element::f32));
    auto request = compiled.create_infer_request();
    for (const auto& spec : manifest.at("inputs")) {
        const auto name = spec.at("name").get<std::string>();
        const auto type = element_type(spec.at("dtype"));
        const auto data = read(raw_file(inputs, name));
        ov::Tensor tensor(type, shape_of(spec, data.size(), type.size()));
        std::copy(data.begin(), data.end(), static_cast<char*>(tensor.data()));
        request.set_tensor(name, tensor);
    }
    request.infer();

    fs::create_directories(outputs);
    std::size_t position = 0;  // OpenVINO may drop one of two names of equal outputs; their order stays
    for (const auto& spec : manifest.at("outputs")) {
        const auto name = spec.at("name").get<std::string>();
        const auto tensor = request.get_output_tensor(position++);
        std::ofstream file(raw_file(outputs, name), std::ios::binary);
        file.write(static_cast<const char*>(tensor.data()), static_cast<std::streamsize>(tensor.get_byte_size()));
        if (!file) throw std::runtime_error("cannot write " + name);
        std::cout << name << " " << spec.at("dtype").get<std::string>() << " " << tensor.get_shape() << "\n";
    }
}

int main(int count, char** arguments) {
    if (count != 4) {
        std::cerr << "usage: predict BUNDLE INPUTS OUTPUTS\n";
        return 2;
    }
    try {
        predict(arguments[1], arguments[2], arguments[3]);
    } catch (const std::exception& error) {
        std::cerr << "predict: " << error.what() << "\n";
        return 1;
    }
    return 0;
}
